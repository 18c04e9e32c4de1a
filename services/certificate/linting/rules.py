"""The rules that every certificate is held against before anybody signs it: quick, on the loop, on what was built.

First what no public linter finds (pki-notes, 2): serials without entropy, noRevAvail beside pointers to revocation, an
authority that outlives its issuer, a leaf without basicConstraints. pkilint, in a process of its own, is the second
reader of what relying parties outside depend on (`services.certificate.linting.pkilint`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import ExtensionOID

from services.certificate.linting.names import name_problems

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
class Built:
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


def problems(certificate: x509.Certificate, issuer: x509.Certificate | None) -> list[str]:
    """All that is wrong with *certificate* (*issuer* None: it is self-signed); none: it may be signed."""
    built = Built(certificate, issuer, {each.oid: each for each in certificate.extensions})
    return [problem for rule in _RULES for problem in rule(built)]


def _serial(built: Built) -> Iterator[str]:
    """RFC 5280, 4.1.2.2; the entropy that CA/B BR 7.1 asks for cannot be seen in one number, its absence can."""
    bits = built.certificate.serial_number.bit_length()
    if built.certificate.serial_number <= 0 or bits > _LONGEST_SERIAL_BITS:
        yield "the serial number is not positive, or longer than 20 octets (RFC 5280, 4.1.2.2)"
    elif bits < _FEWEST_SERIAL_BITS:
        yield f"the serial number has {bits} bits: it cannot have been drawn with {_FEWEST_SERIAL_BITS} random ones"


def _validity(built: Built) -> Iterator[str]:
    begin, end = built.certificate.not_valid_before_utc, built.certificate.not_valid_after_utc
    if begin > end:
        yield "it ends before it begins (RFC 5280, 4.1.2.5)"
    if built.issuer is not None and end > built.issuer.not_valid_after_utc:
        yield "it outlives its issuer"
    if built.issuer is not None and begin < built.issuer.not_valid_before_utc:
        yield "it begins before its issuer"


def _form(built: Built) -> Iterator[str]:
    if built.certificate.version is not x509.Version.v3:
        yield "it is not of version 3 (RFC 5280, 4.1.2.1)"
    for extension in built.extensions.values():
        if extension.critical and extension.oid not in _MAY_BE_CRITICAL:
            yield f"the extension {extension.oid.dotted_string} must not be critical (RFC 5280, 4.2)"


def _basic_constraints(built: Built) -> Iterator[str]:
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


def _key_usage(built: Built) -> Iterator[str]:
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


def _key_identifiers(built: Built) -> Iterator[str]:
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


def _issuer(built: Built) -> Iterator[str]:
    above = built.certificate.subject if built.issuer is None else built.issuer.subject
    if built.certificate.issuer.public_bytes() != above.public_bytes():
        yield "its issuer's name is not, octet for octet, the subject of its issuer's certificate (RFC 5280, 4.1.2.4)"
    if built.issuer is not None and built.certificate.public_key() == built.issuer.public_key():
        yield "its public key is its issuer's own"


def _no_revocation(built: Built) -> Iterator[str]:
    """RFC 9608: who says that there is no revocation information must not say where it is."""
    if _NO_REV_AVAIL not in built.extensions:
        return
    if built.is_authority:
        yield "noRevAvail is not for authorities (RFC 9608, 2)"
    access = built.get(x509.AuthorityInformationAccess)
    ocsp = access is not None and any(each.access_method == x509.OID_OCSP for each in access)
    if ocsp or {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.FRESHEST_CRL} & built.extensions.keys():
        yield "it says that there is no revocation information, and where that is (RFC 9608, 2)"


def _extended_key_usage(built: Built) -> Iterator[str]:
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


def _pointers(built: Built) -> Iterator[str]:
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


def _name_constraints(built: Built) -> Iterator[str]:
    found = built.extensions.get(ExtensionOID.NAME_CONSTRAINTS)
    if found is not None and not (built.is_authority and found.critical):
        yield "name constraints are for authorities, and critical (RFC 5280, 4.2.1.10)"


def _names(built: Built) -> Iterator[str]:
    usage = built.get(x509.ExtendedKeyUsage)
    alternatives = built.extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    return name_problems(built.certificate.subject, alternatives, frozenset(usage or ()))


_RULES: tuple[Callable[[Built], Iterator[str]], ...] = (
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
