"""Syntax of requested names, and the kinds of name that each profile allows. Pure."""

import re
from ipaddress import ip_address
from typing import assert_never
from urllib.parse import urlsplit

from services.certificate.profiles import PROFILES
from shared.contracts.certificate.value_types import DistinguishedName, Profile, SanKind, SubjectAlternativeName

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"(?=.{{1,64}}$){_ATOM}(\.{_ATOM})*")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?![0-9]+$){_LABEL}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_MAX_COMMON_NAME_BYTES = 64
AlternativeNames = tuple[SubjectAlternativeName, ...]


def requested_sans(subject: DistinguishedName, sans: AlternativeNames) -> AlternativeNames:
    """Returns the SANs of a request without duplicates, the subject's e-mail address first (RFC 5280, 4.1.2.6)."""
    mailbox = () if subject.email is None else (SubjectAlternativeName(kind=SanKind.EMAIL, value=subject.email),)
    return tuple(dict.fromkeys((*mailbox, *sans)))


def check_names(profile: Profile, common_name: str | None, names: AlternativeNames) -> str | None:
    """Returns why a certificate of *profile* cannot have these names, or None."""
    rules = PROFILES[profile]
    if common_name is not None and len(common_name.encode()) > _MAX_COMMON_NAME_BYTES:
        return f"subject.common_name has more than {_MAX_COMMON_NAME_BYTES} bytes in UTF-8"
    for name in names:
        if name.kind not in rules.names:
            return f"{name.kind} {name.value} does not fit profile {profile}; it names {_kinds(rules.names)}"
        if (problem := check_syntax(name, wildcards=rules.wildcards)) is not None:
            return problem
    if rules.required_san_kinds and not any(name.kind in rules.required_san_kinds for name in names):
        return f"a certificate of profile {profile} must name {_kinds(rules.required_san_kinds)} in its sans"
    if rules.common_name_in_sans and common_name is not None and common_name not in {name.value for name in names}:
        return f"the common_name of profile {profile} must be one of its sans, and {common_name} is none of them"
    return None


def _kinds(kinds: frozenset[SanKind]) -> str:
    return " or ".join(kind for kind in SanKind if kind in kinds)


def check_syntax(name: SubjectAlternativeName, *, wildcards: bool = False) -> str | None:
    """Returns what is wrong with the value of *name*, or None."""
    value = name.value
    match name.kind:
        case SanKind.EMAIL:
            return None if is_mailbox(value) else f"{value} is not an e-mail address: local-part@domain"
        case SanKind.DNS:
            return _check_host(value, wildcards=wildcards)
        case SanKind.URI:
            return _check_uri(value)
        case SanKind.IP:
            return _check_address(value)
        case SanKind.UPN:
            return None if is_mailbox(value) else f"{value} is not the name of an account: user@domain"
        case _:
            assert_never(name.kind)


def is_mailbox(value: str) -> bool:
    """Tells whether *value* is a Mailbox without phrase, comment or angle brackets (RFC 5280, 4.2.1.6)."""
    local_part, at, domain = value.rpartition("@")
    return bool(at and _LOCAL_PART.fullmatch(local_part) and is_domain(domain))


def is_domain(value: str) -> bool:
    """Tells whether *value* has the preferred name syntax (RFC 5280, 4.2.1.6)."""
    return _DOMAIN.fullmatch(value) is not None


def _check_host(value: str, *, wildcards: bool) -> str | None:
    """Accepts a wildcard only as the whole leftmost label of at least three (RFC 9525, 6.3)."""
    if value.startswith("*."):
        if not wildcards:
            return f"{value} is a wildcard; only a {Profile.TLS_SERVER} certificate has one"
        if not is_domain(value[2:]) or "." not in value[2:]:
            return f"{value} is not a wildcard of one domain: *.example.org"
        return None
    if not is_domain(value):
        return f"{value} is not a host name: labels of letters, digits and hyphens, joined by dots"
    return None


def _check_uri(value: str) -> str | None:
    """Requires a scheme, and a host name or address if there is an authority part (RFC 5280, 4.2.1.6)."""
    if not _URI.fullmatch(value):
        return f"{value} is not an absolute URI: scheme:rest, as in urn:uuid:… or https://host/…"
    if value.partition(":")[2].startswith("//") and not _has_host(value):
        return f"{value} has no host name or address after //"
    return None


def _has_host(uri: str) -> bool:
    try:
        host = urlsplit(uri).hostname or ""
        return bool(is_domain(host) or ip_address(host))
    except ValueError:
        return False


def _check_address(value: str) -> str | None:
    if "%" in value:
        return f"{value} has a zone; it means nothing on another machine"
    try:
        ip_address(value)
    except ValueError:
        return f"{value} is not an IPv4 or IPv6 address"
    return None
