"""Lints for every certificate before it is signed. They are fast enough for the event loop.

They find what public linters miss: serials without entropy, noRevAvail beside revocation URLs, a CA that outlives its
issuer, a leaf without basicConstraints. `services.certificate.linting.pkilint` runs pkilint for the rest.
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

_MAX_SERIAL_BITS = 159
_MIN_SERIAL_BITS = 64
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
    """A certificate with a placeholder signature, and its issuer's; *issuer* is None for a self-signed one."""

    certificate: x509.Certificate
    issuer: x509.Certificate | None
    extensions: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]

    @property
    def is_ca(self) -> bool:
        basic = self.get(x509.BasicConstraints)
        return basic is not None and basic.ca

    def get(self, kind: type[T]) -> T | None:
        found = self.extensions.get(kind.oid)
        return found.value if found is not None and isinstance(found.value, kind) else None


def lint(certificate: x509.Certificate, issuer: x509.Certificate | None) -> list[str]:
    """Returns all findings about *certificate*; it may be signed if there are none."""
    draft = LintInput(certificate, issuer, {each.oid: each for each in certificate.extensions})
    return [problem for rule in _RULES for problem in rule(draft)]


def _serial(draft: LintInput) -> Iterator[str]:
    """Checks size and sign (RFC 5280, 4.1.2.2) and the length that 64 random bits (BR 7.1) imply."""
    bits = draft.certificate.serial_number.bit_length()
    if draft.certificate.serial_number <= 0 or bits > _MAX_SERIAL_BITS:
        yield "the serial number is not positive, or longer than 20 octets (RFC 5280, 4.1.2.2)"
    elif bits < _MIN_SERIAL_BITS:
        yield f"the serial number has {bits} bits; {_MIN_SERIAL_BITS} random ones are required"


def _validity(draft: LintInput) -> Iterator[str]:
    begin, end = draft.certificate.not_valid_before_utc, draft.certificate.not_valid_after_utc
    if begin > end:
        yield "it ends before it begins (RFC 5280, 4.1.2.5)"
    if draft.issuer is not None and end > draft.issuer.not_valid_after_utc:
        yield "it outlives its issuer"
    if draft.issuer is not None and begin < draft.issuer.not_valid_before_utc:
        yield "it begins before its issuer"


def _form(draft: LintInput) -> Iterator[str]:
    if draft.certificate.version is not x509.Version.v3:
        yield "it is not of version 3 (RFC 5280, 4.1.2.1)"
    for extension in draft.extensions.values():
        if extension.critical and extension.oid not in _MAY_BE_CRITICAL:
            yield f"the extension {extension.oid.dotted_string} must not be critical (RFC 5280, 4.2)"


def _basic_constraints(draft: LintInput) -> Iterator[str]:
    """Requires critical basicConstraints, also in a leaf (RFC 5280, 4.2.1.9)."""
    found = draft.extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    basic = draft.get(x509.BasicConstraints)
    if found is None or basic is None:
        yield "it has no basicConstraints"
        return
    if not found.critical:
        yield "its basicConstraints are not critical (RFC 5280, 4.2.1.9)"
    max_length = _path_length(draft.issuer)
    if basic.ca and max_length is not None and (basic.path_length is None or basic.path_length >= max_length):
        yield "its path length is not below its issuer's (RFC 5280, 4.2.1.9)"


def _path_length(issuer: x509.Certificate | None) -> int | None:
    if issuer is None:
        return None
    return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


def _key_usage(draft: LintInput) -> Iterator[str]:
    """Checks keyUsage (RFC 5280, 4.2.1.3) for each key type: RFC 8410, 5; RFC 8813, 3; RFC 9881, 5; RFC 4055, 1.2."""
    found, usage = draft.extensions.get(ExtensionOID.KEY_USAGE), draft.get(x509.KeyUsage)
    if found is None or usage is None:
        yield "it has no keyUsage"
        return
    if not found.critical:
        yield "its keyUsage is not critical (RFC 5280, 4.2.1.3)"
    usages = frozenset(each for each in _USAGES if getattr(usage, each))
    if ("key_cert_sign" in usages) is not draft.is_ca:
        yield "keyCertSign is required in CA certificates and forbidden in all others (RFC 5280, 4.2.1.3 and 4.2.1.9)"
    if "crl_sign" in usages and not draft.is_ca:
        yield "cRLSign is for CA certificates only"
    for impossible in sorted(usages - _possible(draft.certificate.public_key())):
        yield f"a key of this kind cannot be used for {impossible}"
    if not usages:
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


def _key_identifiers(draft: LintInput) -> Iterator[str]:
    """Checks key identifiers (RFC 5280, 4.2.1.1 and 4.2.1.2)."""
    subject, authority = draft.get(x509.SubjectKeyIdentifier), draft.get(x509.AuthorityKeyIdentifier)
    if subject is None:
        yield "it has no subjectKeyIdentifier"
    if authority is None:
        yield "it has no authorityKeyIdentifier"
    signer = draft.certificate if draft.issuer is None else draft.issuer
    identifier = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest if subject else None
    if authority is not None and authority.key_identifier != identifier:
        yield "its authorityKeyIdentifier is not its issuer's subjectKeyIdentifier (RFC 5280, 4.2.1.1)"


def _issuer(draft: LintInput) -> Iterator[str]:
    expected = draft.certificate.subject if draft.issuer is None else draft.issuer.subject
    if draft.certificate.issuer.public_bytes() != expected.public_bytes():
        yield "its issuer's name is not, octet for octet, the subject of its issuer's certificate (RFC 5280, 4.1.2.4)"
    if draft.issuer is not None and draft.certificate.public_key() == draft.issuer.public_key():
        yield "its public key is its issuer's own"


def _no_revocation(draft: LintInput) -> Iterator[str]:
    """Forbids noRevAvail beside revocation URLs (RFC 9608, 2)."""
    if _NO_REV_AVAIL not in draft.extensions:
        return
    if draft.is_ca:
        yield "noRevAvail is not for CA certificates (RFC 9608, 2)"
    access = draft.get(x509.AuthorityInformationAccess)
    ocsp = access is not None and any(each.access_method == x509.OID_OCSP for each in access)
    if ocsp or {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.FRESHEST_CRL} & draft.extensions.keys():
        yield "it has both noRevAvail and revocation URLs (RFC 9608, 2)"


def _extended_key_usage(draft: LintInput) -> Iterator[str]:
    """Checks purposes (RFC 5280, 4.2.1.12); a responder has only OCSPSigning and nocheck (RFC 6960, 4.2.2.2)."""
    usage = draft.get(x509.ExtendedKeyUsage)
    purposes = frozenset(usage) if usage is not None else frozenset()
    if Purpose.ANY_EXTENDED_KEY_USAGE in purposes:
        yield "anyExtendedKeyUsage allows every use: list the intended ones"
    responds = Purpose.OCSP_SIGNING in purposes
    if responds and len(purposes) > 1:
        yield "an OCSP responder's certificate must have no other extended key usage"
    if responds is not (ExtensionOID.OCSP_NO_CHECK in draft.extensions):
        yield "id-pkix-ocsp-nocheck belongs to an OCSP responder's certificate, and to no other (RFC 6960, 4.2.2.2.1)"
    if draft.is_ca and {Purpose.CODE_SIGNING, Purpose.OCSP_SIGNING} & purposes:
        yield "a CA certificate must have neither codeSigning nor OCSPSigning"


def _pointers(draft: LintInput) -> Iterator[str]:
    """Requires plain http URLs: fetching one must not require another certificate (RFC 5280, 4.2.1.13, 4.2.2.1)."""
    access = draft.get(x509.AuthorityInformationAccess)
    points = draft.get(x509.CRLDistributionPoints)
    locations = [each.access_location for each in access or ()]
    locations += [name for point in points or () for name in point.full_name or ()]
    for location in locations:
        if not isinstance(location, x509.UniformResourceIdentifier) or not location.value.startswith("http://"):
            yield "a pointer to CRLs, OCSP or the issuer must be an http:// URI (RFC 5280, 8)"
    if draft.issuer is None and (access is not None or points is not None):
        yield "a root must have no URLs of CRLs, OCSP or an issuer: no CA above it can revoke it"


def _name_constraints(draft: LintInput) -> Iterator[str]:
    found = draft.extensions.get(ExtensionOID.NAME_CONSTRAINTS)
    if found is not None and not (draft.is_ca and found.critical):
        yield "name constraints are for CA certificates only, and must be critical (RFC 5280, 4.2.1.10)"


def _names(draft: LintInput) -> Iterator[str]:
    usage = draft.get(x509.ExtendedKeyUsage)
    alternatives = draft.extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    return name_problems(draft.certificate.subject, alternatives, frozenset(usage or ()))


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
_MAX_HOST_LENGTH = 253
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
    """Yields findings about the names of a certificate with these extended key usages."""
    yield from _subject(subject)
    names = _san_names(alternatives)
    if not len(subject) and (alternatives is None or not alternatives.critical):
        yield "without a subject, alternative names are required and must be critical (RFC 5280, 4.1.2.6)"
    if len(subject) and alternatives is not None and alternatives.critical:
        yield "beside a subject the alternative names must not be critical (RFC 5280, 4.2.1.6)"
    if len({_fold_case(name) for name in names}) != len(names):
        yield "an alternative name occurs twice"
    for name in names:
        if isinstance(name, x509.DNSName):
            yield from _host(name.value)
    yield from _needed(names, usages)


def _san_names(alternatives: Alternatives) -> list[x509.GeneralName]:
    if alternatives is None or not isinstance(alternatives.value, x509.SubjectAlternativeName):
        return []
    return list(alternatives.value)


def _fold_case(name: x509.GeneralName) -> object:
    """Normalises a name for comparison: host names have no case (RFC 5280, 7.2)."""
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
        yield "the subject has a multi-valued RDN: relying parties differ about the order of its attributes"


def _host(value: str) -> Iterator[str]:
    """Checks a host (RFC 5280, 4.2.1.6); a wildcard is the whole first of at least three labels (RFC 9525, 6.3)."""
    labels = value.removeprefix("*.").split(".")
    if len(value) > _MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        yield f"the alternative name {value} is no host name (RFC 1123, 2.1)"
    if value.startswith("*.") and len(labels) < 2:  # noqa: PLR2004 - a wildcard for all of a top-level domain
        yield f"the wildcard {value} covers a whole top-level domain"
    try:
        ip_address(value)
    except ValueError:
        return
    yield f"the alternative name {value} is an address: it belongs among the IP addresses"


def _needed(names: list[x509.GeneralName], usages: frozenset[x509.ObjectIdentifier]) -> Iterator[str]:
    """Requires the names that each purpose needs (RFC 9525, 6; RFC 8550, 3; [MS-WCCE])."""
    if Purpose.SERVER_AUTH in usages and not any(isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
        yield "a TLS server's certificate names neither a host nor an address"
    upn = any(isinstance(name, x509.OtherName) and name.type_id == _UPN for name in names)
    if Purpose.SMARTCARD_LOGON in usages and not upn:
        yield "a certificate for smart card logon names no account (UPN)"
