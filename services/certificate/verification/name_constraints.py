"""Name constraints along a path (RFC 5280, 4.2.1.10). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.certificate.verification.budget import Budget
from services.certificate.verification.name_matching import (
    comparable_name,
    is_host,
    is_host_or_wildcard,
    is_mailbox,
    is_within_subtree,
    same_mailbox,
)
from services.certificate.verification.parsed_certificate import ParsedCertificate

_Form = type[x509.GeneralName]
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class _Name:
    """A name or a subtree. *value* is text, a ComparableName, an address or a network."""

    form: _Form
    value: object

    def __str__(self) -> str:
        return "its subject" if self.form is x509.DirectoryName else str(self.value)[:_MAX_SHOWN]


def find_malformed_subtree(constraints: x509.NameConstraints) -> str | None:
    """Returns the first malformed subtree, or None."""
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


def find_violation(constraints: x509.NameConstraints, certificate: ParsedCertificate, budget: Budget) -> str | None:
    """Returns which name of *certificate* violates *constraints*, and why, or None."""
    permitted = _by_form(constraints.permitted_subtrees or ())
    excluded = _by_form(constraints.excluded_subtrees or ())
    names = tuple(_names_of(certificate))
    budget.compare_names(sum(len(permitted.get(name.form, ())) + len(excluded.get(name.form, ())) for name in names))
    for name in names:
        permitted_here, excluded_here = permitted.get(name.form), excluded.get(name.form, [])
        if permitted_here is None and not excluded_here:
            continue
        if name.form not in _IS_IN:  # RFC 5280, 4.2.1.10, requires to reject such a path
            return f"a name of it is of a form whose constraints are not supported: {name.form.__name__}"
        is_in, overlaps = _IS_IN[name.form], _OVERLAPS.get(name.form, _IS_IN[name.form])
        if any(overlaps(name.value, each) for each in excluded_here):
            return f"{name} is excluded"
        if permitted_here is not None and not any(is_in(name.value, each) for each in permitted_here):
            return f"{name} is not permitted"
    return None


def _names_of(certificate: ParsedCertificate) -> Iterable[_Name]:
    """Yields the names that constraints apply to: subject, SANs and, without a SAN mailbox, the subject's mailboxes."""
    if certificate.subject:
        yield _Name(x509.DirectoryName, certificate.subject)
    yield from (_name(each) for each in certificate.alternative_names)
    if not any(isinstance(each, x509.RFC822Name) for each in certificate.alternative_names):
        for mailbox in certificate.name.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            yield _Name(x509.RFC822Name, str(mailbox.value))


def _name(name: x509.GeneralName) -> _Name:
    return _Name(type(name), comparable_name(name.value) if isinstance(name, x509.DirectoryName) else name.value)


def _by_form(subtrees: Iterable[x509.GeneralName]) -> dict[_Form, list[object]]:
    found: dict[_Form, list[object]] = {}
    for subtree in map(_name, subtrees):
        found.setdefault(subtree.form, []).append(subtree.value)
    return found


def _host_is_in(name: object, subtree: object) -> bool:
    """Tells whether a host, or all that a wildcard covers, is in the subtree. The empty subtree contains all hosts."""
    name, subtree = str(name).lower(), str(subtree).lower()
    if not is_host_or_wildcard(name):
        return False
    return not subtree or f".{name.removeprefix('*.')}".endswith(f".{subtree}")


def _host_overlaps(name: object, subtree: object) -> bool:
    """Also matches a wildcard that covers an excluded host (CVE-2025-61727)."""
    name, subtree = str(name).lower(), str(subtree).lower()
    covers_subtree = name.startswith("*.") and subtree.partition(".")[2] == name.removeprefix("*.")
    return covers_subtree or not is_host_or_wildcard(name) or _host_is_in(name, subtree)


def _mailbox_is_in(name: object, subtree: object) -> bool:
    name, subtree = str(name), str(subtree)
    if not is_mailbox(name):
        return False
    return same_mailbox(name, subtree) if "@" in subtree else _is_of(name.rpartition("@")[2], subtree)


def _mailbox_overlaps(name: object, subtree: object) -> bool:
    return not is_mailbox(str(name)) or _mailbox_is_in(name, subtree)


def _uri_is_in(name: object, subtree: object) -> bool:
    return _is_of(_host_of(str(name)), str(subtree))


def _uri_overlaps(name: object, subtree: object) -> bool:
    """Also matches a URI without a host name, which constraints on URIs exclude (RFC 5280, 4.2.1.10)."""
    return not is_host(_host_of(str(name))) or _uri_is_in(name, subtree)


def _address_is_in(name: object, subtree: object) -> bool:
    if not isinstance(name, IPv4Address | IPv6Address) or not isinstance(subtree, IPv4Network | IPv6Network):
        return False
    return name in subtree


def _address_overlaps(name: object, subtree: object) -> bool:
    return not isinstance(name, IPv4Address | IPv6Address) or _address_is_in(name, subtree)


def _directory_name_is_in(name: object, subtree: object) -> bool:
    return isinstance(name, tuple) and isinstance(subtree, tuple) and is_within_subtree(name, subtree)


_IS_IN = {
    x509.DNSName: _host_is_in,
    x509.RFC822Name: _mailbox_is_in,
    x509.UniformResourceIdentifier: _uri_is_in,
    x509.IPAddress: _address_is_in,
    x509.DirectoryName: _directory_name_is_in,
}
"""Tells whether all that a name covers is in a subtree; used for permitted subtrees."""

_OVERLAPS = {
    x509.DNSName: _host_overlaps,
    x509.RFC822Name: _mailbox_overlaps,
    x509.UniformResourceIdentifier: _uri_overlaps,
    x509.IPAddress: _address_overlaps,
}
"""Tells whether a name covers anything in a subtree, or is malformed; used for excluded subtrees."""


def _is_of(host: str, subtree: str) -> bool:
    """Tells whether *host* is the subtree or, after a leading period, below it and not itself."""
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
