"""The rules that every certificate is held against before anybody signs it: quick, on the loop, on what was built.

First what no public linter finds (pki-notes, 2): serials without entropy, noRevAvail beside pointers to revocation, an
authority that outlives its issuer, a leaf without basicConstraints. pkilint, in a process of its own, is the second
reader of what relying parties outside depend on (`services.certificate.linting.pkilint`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import ExtensionOID, NameOID

T = TypeVar("T", bound=x509.ExtensionType)

_LONGEST_SERIAL_BITS = 159
_FEWEST_SERIAL_BITS = 64
_NO_REV_AVAIL = x509.ObjectIdentifier("2.5.29.56")
_MAY_BE_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
_SIGNING = frozenset({"digital_signature", "content_commitment", "key_cert_sign", "crl_sign"})


@dataclass(frozen=True, slots=True)
class LintInput:
    """A certificate before its true signature (the one in it is a stand-in's), and its issuer's; None: its own."""

    certificate: x509.Certificate
    issuer: x509.Certificate | None
    extensions: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]

    @property
    def is_authority(self) -> bool:
        basic = self.get(x509.BasicConstraints)
        return basic is not None and basic.ca

    def get(self, kind: type[T]) -> T | None:
        found = self.extensions.get(kind.oid)
        return found.value if found is not None and isinstance(found.value, kind) else None


def lint(certificate: x509.Certificate, issuer: x509.Certificate | None) -> list[str]:
    """All that is wrong with *certificate* (*issuer* None: it is self-signed); none: it may be signed."""
    built = LintInput(certificate, issuer, {each.oid: each for each in certificate.extensions})
    return [problem for rule in _RULES for problem in rule(built)]


def _serial(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.1.2.2; the entropy that CA/B BR 7.1 asks for cannot be seen in one number, its absence can."""
    bits = built.certificate.serial_number.bit_length()
    if built.certificate.serial_number <= 0 or bits > _LONGEST_SERIAL_BITS:
        yield "the serial number is not positive, or longer than 20 octets (RFC 5280, 4.1.2.2)"
    elif bits < _FEWEST_SERIAL_BITS:
        yield f"the serial number has {bits} bits: it cannot have been drawn with {_FEWEST_SERIAL_BITS} random ones"


def _validity(built: LintInput) -> Iterator[str]:
    begin, end = built.certificate.not_valid_before_utc, built.certificate.not_valid_after_utc
    if begin > end:
        yield "it ends before it begins (RFC 5280, 4.1.2.5)"
    if built.issuer is not None and end > built.issuer.not_valid_after_utc:
        yield "it outlives its issuer"
    if built.issuer is not None and begin < built.issuer.not_valid_before_utc:
        yield "it begins before its issuer"


def _form(built: LintInput) -> Iterator[str]:
    if built.certificate.version is not x509.Version.v3:
        yield "it is not of version 3 (RFC 5280, 4.1.2.1)"
    for extension in built.extensions.values():
        if extension.critical and extension.oid not in _MAY_BE_CRITICAL:
            yield f"the extension {extension.oid.dotted_string} must not be critical (RFC 5280, 4.2)"


def _basic_constraints(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.2.1.9; a leaf says that it is one."""
    found = built.extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    basic = built.get(x509.BasicConstraints)
    if found is None or basic is None:
        yield "it has no basicConstraints"
        return
    if not found.critical:
        yield "its basicConstraints are not critical (RFC 5280, 4.2.1.9)"
    above = _path_length(built.issuer)
    if basic.ca and above is not None and (basic.path_length is None or basic.path_length >= above):
        yield "its path length is not below its issuer's (RFC 5280, 4.2.1.9)"


def _path_length(issuer: x509.Certificate | None) -> int | None:
    if issuer is None:
        return None
    return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


def _key_usage(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.2.1.3, with what each kind of key can do: RFC 8410, 5; RFC 8813, 3; RFC 9881, 5; RFC 4055, 1.2."""
    found, usage = built.extensions.get(ExtensionOID.KEY_USAGE), built.get(x509.KeyUsage)
    if found is None or usage is None:
        yield "it has no keyUsage"
        return
    if not found.critical:
        yield "its keyUsage is not critical (RFC 5280, 4.2.1.3)"
    said = frozenset(each for each in _USAGES if getattr(usage, each))
    if ("key_cert_sign" in said) is not built.is_authority:
        yield "keyCertSign belongs to an authority, and to every authority (RFC 5280, 4.2.1.3 and 4.2.1.9)"
    if "crl_sign" in said and not built.is_authority:
        yield "cRLSign belongs to an authority"
    for impossible in sorted(said - _possible(built.certificate.public_key())):
        yield f"a key of this kind cannot be used for {impossible}"
    if not said:
        yield "its keyUsage allows nothing (RFC 5280, 4.2.1.3)"


def _possible(key: object) -> frozenset[str]:
    match key:
        case rsa.RSAPublicKey():
            return _SIGNING | {"key_encipherment", "data_encipherment"}
        case ec.EllipticCurvePublicKey():
            return _SIGNING | {"key_agreement"}
        case x25519.X25519PublicKey():
            return frozenset({"key_agreement"})
        case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey():
            return _SIGNING
        case _:
            return frozenset()


def _key_identifiers(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.2.1.1 and 4.2.1.2."""
    subject, authority = built.get(x509.SubjectKeyIdentifier), built.get(x509.AuthorityKeyIdentifier)
    if subject is None:
        yield "it has no subjectKeyIdentifier"
    if authority is None:
        yield "it has no authorityKeyIdentifier"
    signer = built.certificate if built.issuer is None else built.issuer
    identifier = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest if subject else None
    if authority is not None and authority.key_identifier != identifier:
        yield "its authorityKeyIdentifier is not its issuer's subjectKeyIdentifier (RFC 5280, 4.2.1.1)"


def _issuer(built: LintInput) -> Iterator[str]:
    above = built.certificate.subject if built.issuer is None else built.issuer.subject
    if built.certificate.issuer.public_bytes() != above.public_bytes():
        yield "its issuer's name is not, octet for octet, the subject of its issuer's certificate (RFC 5280, 4.1.2.4)"
    if built.issuer is not None and built.certificate.public_key() == built.issuer.public_key():
        yield "its public key is its issuer's own"


def _no_revocation(built: LintInput) -> Iterator[str]:
    """RFC 9608: who says that there is no revocation information must not say where it is."""
    if _NO_REV_AVAIL not in built.extensions:
        return
    if built.is_authority:
        yield "noRevAvail is not for authorities (RFC 9608, 2)"
    access = built.get(x509.AuthorityInformationAccess)
    ocsp = access is not None and any(each.access_method == x509.OID_OCSP for each in access)
    if ocsp or {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.FRESHEST_CRL} & built.extensions.keys():
        yield "it says that there is no revocation information, and where that is (RFC 9608, 2)"


def _extended_key_usage(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.2.1.12; RFC 6960, 4.2.2.2: a responder's certificate is for nothing else, and says nocheck."""
    usage = built.get(x509.ExtendedKeyUsage)
    said = frozenset(usage) if usage is not None else frozenset()
    if Purpose.ANY_EXTENDED_KEY_USAGE in said:
        yield "anyExtendedKeyUsage says nothing: name what it is for"
    responds = Purpose.OCSP_SIGNING in said
    if responds and len(said) > 1:
        yield "an OCSP responder's certificate is for nothing else"
    if responds is not (ExtensionOID.OCSP_NO_CHECK in built.extensions):
        yield "id-pkix-ocsp-nocheck belongs to an OCSP responder's certificate, and to no other (RFC 6960, 4.2.2.2.1)"
    if built.is_authority and {Purpose.CODE_SIGNING, Purpose.OCSP_SIGNING} & said:
        yield "an authority signs neither code nor OCSP answers by its own certificate"


def _pointers(built: LintInput) -> Iterator[str]:
    """RFC 5280, 4.2.1.13 and 4.2.2.1: whoever checks a certificate must be able to follow them without checking one."""
    access = built.get(x509.AuthorityInformationAccess)
    points = built.get(x509.CRLDistributionPoints)
    locations = [each.access_location for each in access or ()]
    locations += [name for point in points or () for name in point.full_name or ()]
    for location in locations:
        if not isinstance(location, x509.UniformResourceIdentifier) or not location.value.startswith("http://"):
            yield "a pointer to CRLs, OCSP or the issuer must be an http:// URI (RFC 5280, 8)"
    if built.issuer is None and (access is not None or points is not None):
        yield "a root points nowhere: nobody above it revokes it"


def _name_constraints(built: LintInput) -> Iterator[str]:
    found = built.extensions.get(ExtensionOID.NAME_CONSTRAINTS)
    if found is not None and not (built.is_authority and found.critical):
        yield "name constraints are for authorities, and critical (RFC 5280, 4.2.1.10)"


def _names(built: LintInput) -> Iterator[str]:
    usage = built.get(x509.ExtendedKeyUsage)
    alternatives = built.extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    return name_problems(built.certificate.subject, alternatives, frozenset(usage or ()))


_RULES: tuple[Callable[[LintInput], Iterator[str]], ...] = (
    _form,
    _serial,
    _validity,
    _issuer,
    _basic_constraints,
    _key_usage,
    _key_identifiers,
    _extended_key_usage,
    _no_revocation,
    _pointers,
    _name_constraints,
    _names,
)


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
    names = _san_names(alternatives)
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


def _san_names(alternatives: Alternatives) -> list[x509.GeneralName]:
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
