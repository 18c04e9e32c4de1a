"""Conversion between names of our contracts and X.509: subject, subjectAltName, nameConstraints."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import assert_never

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509.oid import NameOID, ObjectIdentifier

from services.certificate.names.syntax import AlternativeNames
from shared import der
from shared.contracts.certificate.value_types import DistinguishedName, NameConstraints, SanKind, SubjectAlternativeName

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # [MS-WCCE], 2.2.2.7.7.4: a UTF8String


def distinguished_name(subject: DistinguishedName) -> x509.Name:
    """Builds the subject, most general attribute first. An e-mail address belongs in the SANs (RFC 5280, 4.1.2.6)."""
    attributes = (
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.STATE_OR_PROVINCE_NAME, subject.state),
        (NameOID.LOCALITY_NAME, subject.locality),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.organizational_unit),
        (NameOID.COMMON_NAME, subject.common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value is not None])


def san_extension(names: AlternativeNames) -> x509.SubjectAlternativeName | None:
    """Builds the SAN extension without duplicates: an address has several spellings. None for no names."""
    return x509.SubjectAlternativeName(dict.fromkeys(map(_general_name, names))) if names else None


def _general_name(name: SubjectAlternativeName) -> x509.GeneralName:
    match name.kind:
        case SanKind.EMAIL:
            return x509.RFC822Name(name.value)
        case SanKind.DNS:
            return x509.DNSName(name.value)
        case SanKind.URI:
            return x509.UniformResourceIdentifier(name.value)
        case SanKind.IP:
            return x509.IPAddress(ip_address(name.value))
        case SanKind.UPN:
            return x509.OtherName(_UPN, asn1.encode_der(name.value))
        case _:
            assert_never(name.kind)


def sans_of(certificate: x509.Certificate) -> AlternativeNames:
    """Returns the SANs of a certificate. Raises ValueError for a kind that the contract does not have."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(_name(each) for each in found)


def _name(name: x509.GeneralName) -> SubjectAlternativeName:
    match name:
        case x509.RFC822Name(value=value):
            return SubjectAlternativeName(kind=SanKind.EMAIL, value=value)
        case x509.DNSName(value=value):
            return SubjectAlternativeName(kind=SanKind.DNS, value=value)
        case x509.UniformResourceIdentifier(value=value):
            return SubjectAlternativeName(kind=SanKind.URI, value=value)
        case x509.IPAddress(value=value):
            return SubjectAlternativeName(kind=SanKind.IP, value=str(value))
        case x509.OtherName(type_id=oid, value=value) if oid == _UPN:
            return SubjectAlternativeName(kind=SanKind.UPN, value=_text(value))
        case _:
            raise ValueError(f"it has a subject alternative name of kind {type(name).__name__}, which is not supported")


def _text(encoded: bytes) -> str:
    begin, end = der.content(encoded)
    return encoded[begin:end].decode()


def common_name(certificate: x509.Certificate) -> str | None:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def name_constraints_extension(constraints: NameConstraints) -> x509.NameConstraints:
    permitted = _subtrees(constraints.permitted_dns, constraints.permitted_email, constraints.permitted_ip)
    excluded = _subtrees(constraints.excluded_dns, constraints.excluded_email, constraints.excluded_ip)
    return x509.NameConstraints(permitted or None, excluded or None)


def _subtrees(dns: tuple[str, ...], email: tuple[str, ...], ip: tuple[str, ...]) -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(each) for each in dns),
        *(x509.RFC822Name(each) for each in email),
        *(x509.IPAddress(ip_network(each)) for each in ip),
    ]


def name_constraints_of(certificate: x509.Certificate) -> tuple[NameConstraints | None, tuple[str, ...]]:
    """Returns the name constraints of a CA certificate, and the kinds of subtree that are not supported."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None, ()
    permitted, excluded = found.permitted_subtrees or [], found.excluded_subtrees or []
    supported = (x509.DNSName, x509.RFC822Name, x509.IPAddress)
    others = {type(each).__name__ for each in (*permitted, *excluded) if not isinstance(each, supported)}
    constraints = NameConstraints(
        permitted_dns=_values(permitted, x509.DNSName),
        excluded_dns=_values(excluded, x509.DNSName),
        permitted_email=_values(permitted, x509.RFC822Name),
        excluded_email=_values(excluded, x509.RFC822Name),
        permitted_ip=_values(permitted, x509.IPAddress),
        excluded_ip=_values(excluded, x509.IPAddress),
    )
    return constraints, tuple(sorted(others))


def _values(names: list[x509.GeneralName], kind: type[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(str(each.value) for each in names if isinstance(each, kind))


_UTF8_STRING, _SHORT = 0x0C, 0x80


def describe_general_name(name: x509.GeneralName) -> Mapping[str, str]:
    """Describes a GeneralName by kind and value; imported certificates have kinds that no request can have."""
    match name:
        case x509.RFC822Name():
            return {"kind": SanKind.EMAIL, "value": name.value}
        case x509.DNSName():
            return {"kind": SanKind.DNS, "value": name.value}
        case x509.UniformResourceIdentifier():
            return {"kind": SanKind.URI, "value": name.value}
        case x509.IPAddress():
            return {"kind": SanKind.IP, "value": str(name.value)}
        case x509.OtherName(type_id=type_id) if type_id == _UPN and (upn := _utf8_string(name.value)) is not None:
            return {"kind": SanKind.UPN, "value": upn}
        case x509.OtherName():
            return {"kind": "other-name", "value": name.type_id.dotted_string}
        case x509.DirectoryName():
            return {"kind": "directory-name", "value": name.value.rfc4514_string()}
        case x509.RegisteredID():
            return {"kind": "registered-id", "value": name.value.dotted_string}
        case _:
            return {"kind": "unknown", "value": type(name).__name__}


def _utf8_string(encoded: bytes) -> str | None:
    """Returns the text of a DER UTF8String of less than 128 octets, or None."""
    if len(encoded) < 2 or encoded[0] != _UTF8_STRING or encoded[1] >= _SHORT or encoded[1] != len(encoded) - 2:  # noqa: PLR2004 - tag and length
        return None
    return encoded[2:].decode(errors="replace")
