"""Name constraints of a CA (RFC 5280, 4.2.1.10): parsing and application.

Where the RFC is ambiguous, the stricter reading applies, because relying parties may use either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from itertools import chain
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.key.custody.tbs import NotSignableError, TbsCertificate
from shared.contracts.key.value_types import Value

Directory = tuple[tuple[tuple[str, str], ...], ...]
_T = TypeVar("_T", str, Directory)
_Subtrees = tuple[tuple[_T, ...], Callable[[_T, _T], bool]]
"""The subtrees of a form, and the predicate for a name in one."""


class NamesByForm(Value):
    """Names by form. A directory name is a tuple of RDNs, each a sorted tuple of type and value."""

    dns: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    directory: tuple[Directory, ...] = ()


class NameConstraints(Value):
    """Permitted and excluded subtrees."""

    permitted: NamesByForm = NamesByForm()
    excluded: NamesByForm = NamesByForm()


def name_constraints_of(tbs: TbsCertificate) -> NameConstraints | None:
    """Parses the constraints in a CA certificate. Rejects forms that it cannot apply (RFC 5280, 6.1)."""
    extension = tbs.extension(x509.NameConstraints)
    if extension is None:
        return None
    if not extension.critical:
        raise NotSignableError("its name constraints must be critical (RFC 5280, 4.2.1.10)")
    permitted, excluded = extension.value.permitted_subtrees, extension.value.excluded_subtrees
    return NameConstraints(permitted=_subtrees(permitted or ()), excluded=_subtrees(excluded or ()))


def names_of(tbs: TbsCertificate) -> NamesByForm:
    """Collects the subject and the SANs of every form that can be constrained."""
    extension = tbs.extension(x509.SubjectAlternativeName)
    names: list[x509.GeneralName] = [] if extension is None else [*extension.value]
    if tbs.subject_name.rdns:
        names.append(x509.DirectoryName(tbs.subject_name))
    # RFC 5280 requires this only without a SAN mailbox; here it is always done.
    addresses = tbs.subject_name.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    return _by_form(names, [_mailbox(str(attribute.value)) for attribute in addresses])


def find_violation(constraints: NameConstraints, names: NamesByForm) -> str | None:
    """Returns what is wrong with the first name that violates *constraints*, or None."""
    permitted, excluded = constraints.permitted, constraints.excluded
    problems = chain(
        _violations(names.dns, (permitted.dns, _is_below), (excluded.dns, _could_be_below)),
        _violations(names.email, (permitted.email, _is_mailbox_of), (excluded.email, _is_mailbox_of)),
        _violations(names.uri, (permitted.uri, _is_at), (excluded.uri, _could_be_at)),
        _violations(names.ip, (permitted.ip, _is_in), (excluded.ip, _is_in)),
        _violations(names.directory, (permitted.directory, _begins_with), (excluded.directory, _begins_with)),
    )
    return next(problems, None)


def _violations(names: Iterable[_T], permitted: _Subtrees[_T], excluded: _Subtrees[_T]) -> Iterator[str]:
    for name in names:
        subtrees, within = permitted
        if subtrees and not any(within(name, subtree) for subtree in subtrees):
            yield f"{_format(name)} is not within what its issuer's name constraints permit"
        subtrees, within = excluded
        if any(within(name, subtree) for subtree in subtrees):
            yield f"{_format(name)} is within what its issuer's name constraints exclude"


def _subtrees(names: Iterable[x509.GeneralName]) -> NamesByForm:
    subtrees = [*names]
    for name in subtrees:
        if not isinstance(
            name, x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier | x509.IPAddress | x509.DirectoryName
        ):
            raise NotSignableError(f"its name constraints are of a form not understood here: {type(name).__name__}")
    return _by_form(subtrees)


def _by_form(names: Iterable[x509.GeneralName], mailboxes: Iterable[str] = ()) -> NamesByForm:
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
            case _:  # a form that cannot be constrained
                pass
    return NamesByForm.model_construct(
        dns=tuple(dns), email=tuple(email), uri=tuple(uri), ip=tuple(ip), directory=tuple(directory)
    )


def _mailbox(address: str) -> str:
    local_part, at, host = address.rpartition("@")
    return local_part + at + host.lower()


def _rdn(rdn: x509.RelativeDistinguishedName) -> tuple[tuple[str, str], ...]:
    """Normalises an RDN for comparison: no case, single spaces (RFC 5280, 7.1; RFC 4518, 2.6)."""
    return tuple(sorted((attribute.oid.dotted_string, _plain(attribute.value)) for attribute in rdn))


def _plain(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else " ".join(value.casefold().split())


def _is_below(host: str, subtree: str) -> bool:
    """Tells whether *host* is *subtree* or below it; with a leading dot, only below it."""
    if subtree.startswith("."):
        return host.endswith(subtree)
    return not subtree or host == subtree or host.endswith("." + subtree)


def _could_be_below(host: str, subtree: str) -> bool:
    """Also matches a wildcard that covers a host in *subtree*."""
    _, wildcard, ending = host.rpartition("*")
    return _is_below(host, subtree) or (wildcard != "" and subtree.endswith(ending))


def _is_mailbox_of(mailbox: str, subtree: str) -> bool:
    """Tells whether *mailbox* is that mailbox, is at that host or, with a leading dot, at a host below the domain."""
    host = mailbox.rpartition("@")[2]
    if "@" in subtree:
        return mailbox == subtree
    return host.endswith(subtree) if subtree.startswith(".") or not subtree else host == subtree


def _is_at(uri: str, subtree: str) -> bool:
    """Tells whether the host of *uri* is *subtree* or, with a leading dot, below it; False without a host name."""
    host = _host(uri)
    if host is None:
        return False
    return host.endswith(subtree.lower()) if subtree.startswith(".") or not subtree else host == subtree.lower()


def _could_be_at(uri: str, subtree: str) -> bool:
    """Also matches a URI without a host name, which RFC 5280 requires to reject."""
    return _host(uri) is None or _is_at(uri, subtree)


def _host(uri: str) -> str | None:
    if "\\" in uri:  # some parsers read it as a slash, which gives another host
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


def _format(name: str | Directory) -> str:
    if isinstance(name, str):
        return name
    return ", ".join("+".join(value for _, value in rdn) for rdn in name)
