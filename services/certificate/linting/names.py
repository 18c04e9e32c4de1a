"""The lint rules about names: the subject's, and the alternatives beside it (RFC 5280, 4.1.2.6 and 4.2.1.6)."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_LONGEST_HOST = 253
_BOUNDS = {  # X.520 upper bounds, in RFC 5280, appendix A.1
    NameOID.COMMON_NAME: 64,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.LOCALITY_NAME: 128,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.COUNTRY_NAME: 2,
}

Alternatives = x509.Extension[x509.ExtensionType] | None


def name_problems(
    subject: x509.Name, alternatives: Alternatives, usages: frozenset[x509.ObjectIdentifier]
) -> Iterator[str]:
    """What is wrong with the names of one certificate, whose extended key usages are *usages*."""
    yield from _subject(subject)
    names = _names(alternatives)
    if not len(subject) and (alternatives is None or not alternatives.critical):
        yield "without a subject the alternative names must be there, and critical (RFC 5280, 4.1.2.6)"
    if len(subject) and alternatives is not None and alternatives.critical:
        yield "beside a subject the alternative names must not be critical (RFC 5280, 4.2.1.6)"
    if len({_folded(name) for name in names}) != len(names):
        yield "an alternative name is there twice"
    for name in names:
        if isinstance(name, x509.DNSName):
            yield from _host(name.value)
    yield from _needed(names, usages)


def _names(alternatives: Alternatives) -> list[x509.GeneralName]:
    if alternatives is None or not isinstance(alternatives.value, x509.SubjectAlternativeName):
        return []
    return list(alternatives.value)


def _folded(name: x509.GeneralName) -> object:
    """Hosts are the same whatever their case (RFC 5280, 7.2)."""
    return ("dns", name.value.lower()) if isinstance(name, x509.DNSName) else name


def _subject(subject: x509.Name) -> Iterator[str]:
    for attribute in subject:
        value = attribute.value
        bound = _BOUNDS.get(attribute.oid)
        if bound is not None and len(value) > bound:
            yield f"the subject's {attribute.rfc4514_attribute_name} is longer than {bound} characters (RFC 5280, A.1)"
        if attribute.oid == NameOID.EMAIL_ADDRESS:
            yield "the subject names an e-mail address, which belongs among the alternative names (RFC 5280, 4.1.2.6)"
        if isinstance(value, str) and (not value.strip() or value != value.strip()):
            yield f"the subject's {attribute.rfc4514_attribute_name} is blank, or begins or ends with a blank"
    if any(len(rdn) > 1 for rdn in subject.rdns):
        yield "the subject has a name of several parts in one: relying parties differ about their order"


def _host(value: str) -> Iterator[str]:
    """RFC 5280, 4.2.1.6, of RFC 1123, 2.1; one wildcard, alone, as the first label of three (RFC 9525, 6.3)."""
    labels = value.removeprefix("*.").split(".")
    if len(value) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        yield f"the alternative name {value} is no host name (RFC 1123, 2.1)"
    if value.startswith("*.") and len(labels) < 2:  # noqa: PLR2004 - a wildcard for all of a top-level domain
        yield f"the wildcard {value} stands for a whole top-level domain"
    try:
        ip_address(value)
    except ValueError:
        return
    yield f"the alternative name {value} is an address: it belongs among the IP addresses"


def _needed(names: list[x509.GeneralName], usages: frozenset[x509.ObjectIdentifier]) -> Iterator[str]:
    """What each usage is about must be named: RFC 9525, 6; RFC 8550, 3; [MS-WCCE]."""
    if Purpose.SERVER_AUTH in usages and not any(isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
        yield "a TLS server's certificate names neither a host nor an address"
    upn = any(isinstance(name, x509.OtherName) and name.type_id == _UPN for name in names)
    if Purpose.SMARTCARD_LOGON in usages and not upn:
        yield "a certificate for smart card logon names no account (UPN)"
