"""Name constraints: whether an authority may have named what a certificate names (RFC 5280, 4.2.1.10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.certificate.verification.budget import WorkBudget
from services.certificate.verification.name_matching import (
    distinguished,
    is_host,
    is_host_or_wildcard,
    is_mailbox,
    lies_within,
    same_mailbox,
)
from services.certificate.verification.parsed_certificate import ParsedCertificate

_Form = type[x509.GeneralName]
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class _Name:
    """A name or a subtree, of a form. *value*: text; or a distinguished name, an address, a network as they are."""

    form: _Form
    value: object

    def __str__(self) -> str:
        return "its subject" if self.form is x509.DirectoryName else str(self.value)[:_LONGEST]


def malformed_subtree(constraints: x509.NameConstraints) -> str | None:
    """The subtree that is none; None: all are well formed."""
    for subtree in (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())):
        match subtree:
            case x509.DNSName(value=value) if value and not is_host(value):
                return value
            case x509.RFC822Name(value=value) if not (is_mailbox(value) or _is_domain(value)):
                return value
            case x509.UniformResourceIdentifier(value=value) if not _is_domain(value):
                return value
            case _:
                pass
    return None


def violation(constraints: x509.NameConstraints, certificate: ParsedCertificate, work: WorkBudget) -> str | None:
    """Which name of *certificate* its issuers may not give, and why; None: they may give all."""
    permitted = _by_form(constraints.permitted_subtrees or ())
    excluded = _by_form(constraints.excluded_subtrees or ())
    names = tuple(_names_of(certificate))
    work.compare_names(sum(len(permitted.get(name.form, ())) + len(excluded.get(name.form, ())) for name in names))
    for name in names:
        may, must_not = permitted.get(name.form), excluded.get(name.form, [])
        if may is None and not must_not:
            continue
        if name.form not in _LIES_IN:  # RFC 5280 has such a path rejected
            return f"a name of it is of a form whose constraints are not processed here: {name.form.__name__}"
        lies_in, reaches_into = _LIES_IN[name.form], _REACHES_INTO.get(name.form, _LIES_IN[name.form])
        if any(reaches_into(name.value, each) for each in must_not):
            return f"{name} is excluded"
        if may is not None and not any(lies_in(name.value, each) for each in may):
            return f"{name} is not permitted"
    return None


def _names_of(certificate: ParsedCertificate) -> Iterable[_Name]:
    """What constraints apply to: the subject, the alternative names, the subject's mailboxes where those have none."""
    if certificate.subject:
        yield _Name(x509.DirectoryName, certificate.subject)
    yield from (_name(each) for each in certificate.alternative_names)
    if not any(isinstance(each, x509.RFC822Name) for each in certificate.alternative_names):
        for mailbox in certificate.name.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            yield _Name(x509.RFC822Name, str(mailbox.value))


def _name(name: x509.GeneralName) -> _Name:
    return _Name(type(name), distinguished(name.value) if isinstance(name, x509.DirectoryName) else name.value)


def _by_form(subtrees: Iterable[x509.GeneralName]) -> dict[_Form, list[object]]:
    found: dict[_Form, list[object]] = {}
    for subtree in map(_name, subtrees):
        found.setdefault(subtree.form, []).append(subtree.value)
    return found


def _host_lies_in(name: object, subtree: object) -> bool:
    """The subtree's own name and what has more labels before it; the empty one holds all. Of a wildcard, all of it."""
    name, subtree = str(name).lower(), str(subtree).lower()
    if not is_host_or_wildcard(name):
        return False
    return not subtree or f".{name.removeprefix('*.')}".endswith(f".{subtree}")


def _host_reaches_into(name: object, subtree: object) -> bool:
    """A wildcard stands for bar.example.org too, which may be what is excluded (CVE-2025-61727)."""
    name, subtree = str(name).lower(), str(subtree).lower()
    may_stand_for_it = name.startswith("*.") and subtree.partition(".")[2] == name.removeprefix("*.")
    return may_stand_for_it or not is_host_or_wildcard(name) or _host_lies_in(name, subtree)


def _mailbox_lies_in(name: object, subtree: object) -> bool:
    name, subtree = str(name), str(subtree)
    if not is_mailbox(name):
        return False
    return same_mailbox(name, subtree) if "@" in subtree else _is_of(name.rpartition("@")[2], subtree)


def _mailbox_reaches_into(name: object, subtree: object) -> bool:
    return not is_mailbox(str(name)) or _mailbox_lies_in(name, subtree)


def _uri_lies_in(name: object, subtree: object) -> bool:
    return _is_of(_host_of(str(name)), str(subtree))


def _uri_reaches_into(name: object, subtree: object) -> bool:
    """One without a host name is rejected, where URIs are constrained."""
    return not is_host(_host_of(str(name))) or _uri_lies_in(name, subtree)


def _address_lies_in(name: object, subtree: object) -> bool:
    if not isinstance(name, IPv4Address | IPv6Address) or not isinstance(subtree, IPv4Network | IPv6Network):
        return False
    return name in subtree


def _address_reaches_into(name: object, subtree: object) -> bool:
    return not isinstance(name, IPv4Address | IPv6Address) or _address_lies_in(name, subtree)


def _directory_name_lies_in(name: object, subtree: object) -> bool:
    return isinstance(name, tuple) and isinstance(subtree, tuple) and lies_within(name, subtree)


_LIES_IN = {
    x509.DNSName: _host_lies_in,
    x509.RFC822Name: _mailbox_lies_in,
    x509.UniformResourceIdentifier: _uri_lies_in,
    x509.IPAddress: _address_lies_in,
    x509.DirectoryName: _directory_name_lies_in,
}
"""Whether all that a name can stand for lies in a subtree."""

_REACHES_INTO = {
    x509.DNSName: _host_reaches_into,
    x509.RFC822Name: _mailbox_reaches_into,
    x509.UniformResourceIdentifier: _uri_reaches_into,
    x509.IPAddress: _address_reaches_into,
}
"""Whether anything that a name can stand for lies in a subtree, or what it stands for cannot be told."""


def _is_of(host: str, subtree: str) -> bool:
    """A subtree is a host alone; with a period before it, what lies below and not itself."""
    if not is_host(host):
        return False
    return host.lower().endswith(subtree.lower()) if subtree.startswith(".") else host.lower() == subtree.lower()


def _is_domain(subtree: str) -> bool:
    return is_host(subtree.removeprefix("."))


def _host_of(uri: str) -> str:
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""
