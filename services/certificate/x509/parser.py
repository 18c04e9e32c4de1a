"""Certificates as they come from elsewhere, or were made here before: read, judged, told in the core's words."""

from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from services.certificate.names.x509_names import common_name, name_constraints_of, sans_of
from services.certificate.profiles import PROFILES
from services.certificate.public_keys import fit, only_block, signing
from services.certificate.x509.effects import CertificateRead, ReadCertificate, RequestUnfit, Said
from services.certificate.x509.states import Certificate, Issued, Revoked
from shared.contracts.certificate.value_types import NameConstraints, Profile

_LONGEST_SERIAL = 160


def parse(pem: str, field: str) -> x509.Certificate:
    """Exactly one certificate of version 3, in DER, whose names are written as they would be written again here."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        version, extensions = certificate.version, certificate.extensions
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise ValueError(f"{field} is no certificate that can be read") from error
    only_block(pem, certificate.public_bytes(Encoding.DER), field)
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        forgeable = certificate.signature_hash_algorithm.name
        raise ValueError(f"{field} is signed with {forgeable}, which can be forged")  # noqa: TRY004 - it is its value
    if version is not x509.Version.v3:
        raise ValueError(f"{field} is a certificate of version {version.name}, and must be one of version 3")
    if not 0 < certificate.serial_number.bit_length() <= _LONGEST_SERIAL or certificate.serial_number < 0:
        raise ValueError(f"the serial number in {field} must be positive and have 20 octets at most")
    for name in (certificate.subject, certificate.issuer):
        if name.public_bytes() not in certificate.tbs_certificate_bytes:
            raise ValueError(f"a name in {field} is encoded in a way that its certificates could not repeat")
    if any(each.critical and isinstance(each.value, x509.UnrecognizedExtension) for each in extensions):
        raise ValueError(f"{field} has a critical extension that is not known here")
    return certificate


def said(certificate: x509.Certificate) -> Said:
    path_length, constraints = None, None
    if (basic := _basic(certificate)) is not None and basic.ca:
        path_length, constraints = basic.path_length, name_constraints_of(certificate)[0]
    return Said(common_name(certificate), sans_of(certificate), path_length, constraints)


def said_of(certificate: Certificate) -> Said | None:
    """None where there is no certificate yet, or it names somebody in a way that nobody here can judge."""
    match certificate:
        case Issued(certificate_pem=pem) | Revoked(certificate_pem=str(pem)):
            try:
                return said(x509.load_pem_x509_certificate(pem.encode()))
            except ValueError:
                return None
        case _:
            return None


@lru_cache(maxsize=1024)
def authority_in(certificate_pem: str) -> tuple[int | None, NameConstraints | None, tuple[str, ...]]:
    """Its path length, what constrains the names that it issues for, and which of that is not judged here."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    basic = _basic(certificate)
    return None if basic is None else basic.path_length, *name_constraints_of(certificate)


def another_authority(pem: str) -> Said:
    """What an authority that is to be cross-certified says of itself."""
    certificate = parse(pem, "subject_certificate_pem")
    if (problem := _no_authority(certificate)) is not None:
        raise ValueError(f"subject_certificate_pem is not an authority's: {problem}")
    if certificate.issuer == certificate.subject:
        _verify(certificate, certificate)
    return said(certificate)


def taken_over(plan: ReadCertificate, issuer: Certificate | None) -> CertificateRead | RequestUnfit:
    request = plan.request
    try:
        certificate = parse(request.certificate_pem, "certificate_pem")
        fit(certificate.public_key(), request.profile, ml_dsa=plan.ml_dsa)
        _fits(certificate, request.profile)
        match issuer:
            case None:
                _verify(certificate, certificate)
            case Issued(certificate_pem=pem) | Revoked(certificate_pem=str(pem)):
                _verify(certificate, x509.load_pem_x509_certificate(pem.encode()))
            case _:
                pass  # the core says that there is none
        return CertificateRead(
            request,
            issuer,
            certificate.public_bytes(Encoding.PEM).decode(),
            f"{certificate.serial_number:x}",
            sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            said(certificate),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )
    except (ValueError, x509.ExtensionNotFound) as error:
        return RequestUnfit(str(error))


def _fits(certificate: x509.Certificate, profile: Profile) -> None:
    rules = PROFILES[profile]
    if not rules.is_authority:
        if _no_authority(certificate) is None:
            raise ValueError(f"certificate_pem is an authority's, and a {profile} certificate is none")
        wanted, extended = {x509.ObjectIdentifier(each) for each in rules.extended_key_usage}, _extended(certificate)
        if not wanted <= extended:
            lacking = ", ".join(sorted(oid.dotted_string for oid in wanted - extended))
            raise ValueError(f"certificate_pem lacks the extended key usages of profile {profile}: {lacking}")
        return
    if (problem := _no_authority(certificate)) is not None:
        raise ValueError(f"certificate_pem does not fit profile {profile}: {problem}")


def _no_authority(certificate: x509.Certificate) -> str | None:
    """RFC 5280, 4.2.1.2, 4.2.1.3 and 4.2.1.9: why others' certificates do not verify by this one; None: they do."""
    basic = _basic(certificate)
    if basic is None or not basic.ca:
        return "it has no basicConstraints with cA"
    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "its key usage is not keyCertSign"
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        signing(certificate.public_key())
        unjudged = name_constraints_of(certificate)[1]
    except x509.ExtensionNotFound as error:
        return f"it has no {error.oid._name}"  # noqa: SLF001 - the name that RFC 5280 gives the extension
    return None if not unjudged else f"it constrains names of kinds that are not judged here: {', '.join(unjudged)}"


def _basic(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _extended(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    by = "its own key" if issuer is certificate else "the key of issuer_id"
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"the signature of the certificate does not verify with {by}, or its issuer is another"
        ) from error
