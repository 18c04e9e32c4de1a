"""Which names an authority may certify: the name constraints of RFC 5280, 4.2.1.10, read and applied.

Where the RFC leaves room, the narrower reading is taken: whoever relies on a certificate may read it either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from itertools import chain
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.key.custody.tbs import NotToBeSignedError, ToBeCertified
from shared.contracts.key.value_types import Value

Directory = tuple[tuple[tuple[str, str], ...], ...]
_T = TypeVar("_T", str, Directory)
_Subtrees = tuple[tuple[_T, ...], Callable[[_T, _T], bool]]
"""The subtrees of a form, and what it is for a name to be in one."""


class Names(Value):
    """Names by their forms. A directory name is its RDNs, each as sorted pairs of type and value, for comparison."""

    dns: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    directory: tuple[Directory, ...] = ()


class Constraints(Value):
    permitted: Names = Names()
    excluded: Names = Names()


def read_constraints(tbs: ToBeCertified) -> Constraints | None:
    """What an authority's own certificate constrains it to. A form that we cannot apply is refused (RFC 5280, 6.1)."""
    extension = tbs.extension(x509.NameConstraints)
    if extension is None:
        return None
    if not extension.critical:
        raise NotToBeSignedError("its name constraints must be critical (RFC 5280, 4.2.1.10)")
    permitted, excluded = extension.value.permitted_subtrees, extension.value.excluded_subtrees
    return Constraints(permitted=_subtrees(permitted or ()), excluded=_subtrees(excluded or ()))


def names_of(tbs: ToBeCertified) -> Names:
    """Whom a certificate names: its subject, and each alternative name of a form that constraints are of."""
    extension = tbs.extension(x509.SubjectAlternativeName)
    names: list[x509.GeneralName] = [] if extension is None else [*extension.value]
    if tbs.subject_name.rdns:
        names.append(x509.DirectoryName(tbs.subject_name))
    # RFC 5280 asks for these where there is no alternative name; they are looked at always.
    addresses = tbs.subject_name.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    return _by_form(names, [_mailbox(str(attribute.value)) for attribute in addresses])


def violation(constraints: Constraints, names: Names) -> str | None:
    """What is wrong with the first name that is not within *constraints*; None: all are."""
    permitted, excluded = constraints.permitted, constraints.excluded
    problems = chain(
        _misplaced(names.dns, (permitted.dns, _is_below), (excluded.dns, _could_be_below)),
        _misplaced(names.email, (permitted.email, _is_mailbox_of), (excluded.email, _is_mailbox_of)),
        _misplaced(names.uri, (permitted.uri, _is_at), (excluded.uri, _could_be_at)),
        _misplaced(names.ip, (permitted.ip, _is_in), (excluded.ip, _is_in)),
        _misplaced(names.directory, (permitted.directory, _begins_with), (excluded.directory, _begins_with)),
    )
    return next(problems, None)


def _misplaced(names: Iterable[_T], permitted: _Subtrees[_T], excluded: _Subtrees[_T]) -> Iterator[str]:
    for name in names:
        subtrees, within = permitted
        if subtrees and not any(within(name, subtree) for subtree in subtrees):
            yield f"{_shown(name)} is not within what its issuer's name constraints permit"
        subtrees, within = excluded
        if any(within(name, subtree) for subtree in subtrees):
            yield f"{_shown(name)} is within what its issuer's name constraints exclude"


def _subtrees(names: Iterable[x509.GeneralName]) -> Names:
    subtrees = [*names]
    for name in subtrees:
        if not isinstance(
            name, x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier | x509.IPAddress | x509.DirectoryName
        ):
            raise NotToBeSignedError(f"its name constraints are of a form not understood here: {type(name).__name__}")
    return _by_form(subtrees)


def _by_form(names: Iterable[x509.GeneralName], mailboxes: Iterable[str] = ()) -> Names:
    dns, email, uri, ip, directory = [], [*mailboxes], [], [], []
    for name in names:
        match name:
            case x509.DNSName():
                dns.append(name.value.lower().rstrip("."))
            case x509.RFC822Name():
                email.append(_mailbox(name.value))
            case x509.UniformResourceIdentifier():
                uri.append(name.value)
            case x509.IPAddress():
                ip.append(str(name.value))
            case x509.DirectoryName():
                directory.append(tuple(_rdn(rdn) for rdn in name.value.rdns))
            case _:  # no constraint here is of its form
                pass
    return Names.model_construct(
        dns=tuple(dns), email=tuple(email), uri=tuple(uri), ip=tuple(ip), directory=tuple(directory)
    )


def _mailbox(address: str) -> str:
    local_part, at, host = address.rpartition("@")
    return local_part + at + host.lower()


def _rdn(rdn: x509.RelativeDistinguishedName) -> tuple[tuple[str, str], ...]:
    """Compared without regard to case and to how much white space there is (RFC 5280, 7.1; RFC 4518, 2.6)."""
    return tuple(sorted((attribute.oid.dotted_string, _plain(attribute.value)) for attribute in rdn))


def _plain(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else " ".join(value.casefold().split())


def _is_below(host: str, subtree: str) -> bool:
    """Made of *subtree* by adding labels on the left, none at all included; after a leading dot at least one."""
    if subtree.startswith("."):
        return host.endswith(subtree)
    return not subtree or host == subtree or host.endswith("." + subtree)


def _could_be_below(host: str, subtree: str) -> bool:
    """As _is_below; and a wildcard is each host that it could stand for."""
    _, wildcard, ending = host.rpartition("*")
    return _is_below(host, subtree) or (wildcard != "" and subtree.endswith(ending))


def _is_mailbox_of(mailbox: str, subtree: str) -> bool:
    """One mailbox; all at one host; or, after a leading dot, all at hosts of a domain, but not at the domain itself."""
    host = mailbox.rpartition("@")[2]
    if "@" in subtree:
        return mailbox == subtree
    return host.endswith(subtree) if subtree.startswith(".") or not subtree else host == subtree


def _is_at(uri: str, subtree: str) -> bool:
    """At the host *subtree* or, after a leading dot, at one below it. A URI with no host name is at none."""
    host = _host(uri)
    if host is None:
        return False
    return host.endswith(subtree.lower()) if subtree.startswith(".") or not subtree else host == subtree.lower()


def _could_be_at(uri: str, subtree: str) -> bool:
    """RFC 5280: a URI without a host name is to be rejected wherever URIs are constrained."""
    return _host(uri) is None or _is_at(uri, subtree)


def _host(uri: str) -> str | None:
    if "\\" in uri:  # read as a slash by some: then the host is another
        return None
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        return None
    if not host or _is_address(host):
        return None
    return host.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_in(address: str, subtree: str) -> bool:
    return ip_address(address) in ip_network(subtree)


def _begins_with(name: Directory, subtree: Directory) -> bool:
    return name[: len(subtree)] == subtree


def _shown(name: str | Directory) -> str:
    if isinstance(name, str):
        return name
    return ", ".join("+".join(value for _, value in rdn) for rdn in name)
