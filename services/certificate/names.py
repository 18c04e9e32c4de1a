"""Names in X.509: the subject's and its alternatives. What is wrong with one is a ValueError that says so."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import assert_never
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from shared.contracts.certificate import CreateCertificate
from shared.contracts.naming import DistinguishedName, SanKind, SubjectAlternativeName

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"(?=.{{1,64}}$){_ATOM}(\.{_ATOM})*")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?![0-9]+$){_LABEL}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_LONGEST_COMMON_NAME = 64


def distinguished_name(subject: DistinguishedName) -> x509.Name:
    """From the country down to the person; its e-mail address is an alternative name (RFC 5280, 4.1.2.6)."""
    if len(subject.common_name.encode()) > _LONGEST_COMMON_NAME:
        raise ValueError(f"subject.common_name has more than {_LONGEST_COMMON_NAME} bytes in UTF-8")
    attributes = (
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.organizational_unit),
        (NameOID.COMMON_NAME, subject.common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value is not None])


def alternative_names(request: CreateCertificate) -> x509.SubjectAlternativeName | None:
    """Each of them once, in the order of the request, the subject's e-mail address first."""
    names = tuple(dict.fromkeys(_alternatives(request)))
    return x509.SubjectAlternativeName(names) if names else None


def _alternatives(request: CreateCertificate) -> Iterator[x509.GeneralName]:
    if request.subject.email is not None:
        yield _mailbox(request.subject.email)
    for san in request.sans:
        yield _general_name(san)


def _general_name(san: SubjectAlternativeName) -> x509.GeneralName:
    match san.kind:
        case SanKind.EMAIL:
            return _mailbox(san.value)
        case SanKind.DNS:
            return _host(san.value)
        case SanKind.URI:
            return _uri(san.value)
        case SanKind.IP:
            return _address(san.value)
        case _:
            assert_never(san.kind)


def _mailbox(value: str) -> x509.RFC822Name:
    """RFC 5280, 4.2.1.6: a Mailbox of RFC 2821, without a phrase, a comment or angle brackets."""
    local_part, at, domain = value.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local_part) or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{value} is not an e-mail address: local-part@domain")
    return x509.RFC822Name(value)


def _host(value: str) -> x509.DNSName:
    """RFC 5280, 4.2.1.6: the preferred name syntax; no wildcard, for these certificates name one subject."""
    if not _DOMAIN.fullmatch(value):
        raise ValueError(f"{value} is not a host name: labels of letters, digits and hyphens, joined by dots")
    return x509.DNSName(value)


def _uri(value: str) -> x509.UniformResourceIdentifier:
    """RFC 5280, 4.2.1.6: with a scheme and, where it has an authority, a host that is a name or an address."""
    if not _URI.fullmatch(value):
        raise ValueError(f"{value} is not an absolute URI: scheme:rest, as in urn:uuid:… or https://host/…")
    if value.partition(":")[2].startswith("//") and not _has_host(value):
        raise ValueError(f"{value} has no host name or address after //")
    return x509.UniformResourceIdentifier(value)


def _has_host(uri: str) -> bool:
    try:
        host = urlsplit(uri).hostname or ""
        return bool(_DOMAIN.fullmatch(host) or ip_address(host))
    except ValueError:
        return False


def _address(value: str) -> x509.IPAddress:
    try:
        address = ip_address(value)
    except ValueError as error:
        raise ValueError(f"{value} is not an IPv4 or IPv6 address") from error
    if "%" in value:
        raise ValueError(f"{value} has a zone; it means nothing on another machine")
    return x509.IPAddress(address)
