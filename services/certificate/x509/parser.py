"""Parser of existing certificates: checks imported and cross-certified ones, and extracts what the decider needs."""

from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from services.certificate.names.x509_names import common_name, name_constraints_of, sans_of
from services.certificate.profiles import PROFILES
from services.certificate.public_keys import reject_trailing_data, require_signing_key, require_subject_key
from services.certificate.x509.effects import CertificateRead, ReadCertificate, RequestInvalid, SubjectContent
from services.certificate.x509.states import Certificate, Issued, Revoked
from shared.contracts.certificate.value_types import NameConstraints, Profile

_MAX_SERIAL_BITS = 160  # RFC 5280, 4.1.2.2: 20 octets


class IssuerLimits(NamedTuple):
    """Limits that a CA certificate sets for what it issues; *unsupported* kinds of names cannot be checked here."""

    path_length: int | None
    name_constraints: NameConstraints | None
    unsupported: tuple[str, ...]


def parse(pem: str, field: str) -> x509.Certificate:
    """Parses exactly one v3 certificate in DER, without unknown critical extensions.

    Its names must survive re-encoding by cryptography, because certificates that it issues repeat them.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        version, extensions = certificate.version, certificate.extensions
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise ValueError(f"{field} is not a readable X.509 certificate") from error
    reject_trailing_data(pem, certificate.public_bytes(Encoding.DER), field)
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        digest = certificate.signature_hash_algorithm.name
        raise ValueError(f"{field} is signed with {digest}, which can be forged")  # noqa: TRY004 - the value is wrong, not its type
    if version is not x509.Version.v3:
        raise ValueError(f"{field} is a certificate of version {version.name}; it must be one of version 3")
    if not 0 < certificate.serial_number.bit_length() <= _MAX_SERIAL_BITS or certificate.serial_number < 0:
        raise ValueError(f"the serial number in {field} must be positive and have 20 octets at most")
    for name in (certificate.subject, certificate.issuer):
        if name.public_bytes() not in certificate.tbs_certificate_bytes:
            raise ValueError(f"a name in {field} has an encoding that issued certificates could not repeat")
    if any(each.critical and isinstance(each.value, x509.UnrecognizedExtension) for each in extensions):
        raise ValueError(f"{field} has a critical extension that is not supported")
    return certificate


def _content(certificate: x509.Certificate) -> SubjectContent:
    """Extracts names and CA limits; raises ValueError for a name of an unsupported kind."""
    path_length, constraints = None, None
    if (basic := _basic_constraints(certificate)) is not None and basic.ca:
        path_length, constraints = basic.path_length, name_constraints_of(certificate)[0]
    return SubjectContent(
        common_name=common_name(certificate),
        names=sans_of(certificate),
        path_length=path_length,
        name_constraints=constraints,
    )


def extract_content(certificate: Certificate) -> SubjectContent | None:
    """Extracts names and CA limits of a stored certificate.

    Returns None if there is no certificate yet, or if it has a name of an unsupported kind.
    """
    match certificate:
        case Issued(certificate_pem=pem) | Revoked(certificate_pem=str(pem)):
            try:
                return _content(x509.load_pem_x509_certificate(pem.encode()))
            except ValueError:
                return None
        case _:
            return None


@lru_cache(maxsize=1024)
def issuer_limits(certificate_pem: str) -> IssuerLimits:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    basic = _basic_constraints(certificate)
    return IssuerLimits(None if basic is None else basic.path_length, *name_constraints_of(certificate))


def parse_ca_certificate(pem: str) -> SubjectContent:
    """Checks and extracts the CA certificate of a cross-certification."""
    certificate = parse(pem, "subject_certificate_pem")
    if (problem := _ca_problem(certificate)) is not None:
        raise ValueError(f"subject_certificate_pem is not a CA certificate: {problem}")
    if certificate.issuer == certificate.subject:
        _verify_signature(certificate, certificate)
    return _content(certificate)


def read_certificate(effect: ReadCertificate, issuer: Certificate | None) -> CertificateRead | RequestInvalid:
    """Checks key, profile and signature of an imported certificate; *issuer* is None for a root."""
    request = effect.request
    try:
        certificate = parse(request.certificate_pem, "certificate_pem")
        require_subject_key(certificate.public_key(), request.profile, ml_dsa=effect.ml_dsa)
        _check_profile(certificate, request.profile)
        match issuer:
            case None:
                _verify_signature(certificate, certificate)
            case Issued(certificate_pem=pem) | Revoked(certificate_pem=str(pem)):
                _verify_signature(certificate, x509.load_pem_x509_certificate(pem.encode()))
            case _:
                pass  # without a certificate: the decider rejects it
        return CertificateRead(
            request=request,
            issuer=issuer,
            certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
            serial=f"{certificate.serial_number:x}",
            fingerprint_sha256=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            content=_content(certificate),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except (ValueError, x509.ExtensionNotFound) as error:
        return RequestInvalid(str(error))


def _check_profile(certificate: x509.Certificate, profile: Profile) -> None:
    rules, ca_problem = PROFILES[profile], _ca_problem(certificate)
    if rules.is_ca:
        if ca_problem is not None:
            raise ValueError(f"certificate_pem does not fit profile {profile}: {ca_problem}")
        return
    if ca_problem is None:
        raise ValueError(f"certificate_pem is a CA certificate; a {profile} certificate must not be one")
    required = {x509.ObjectIdentifier(each) for each in rules.extended_key_usage}
    if missing := required - _extended_key_usages(certificate):
        oids = ", ".join(sorted(oid.dotted_string for oid in missing))
        raise ValueError(f"certificate_pem lacks the extended key usages of profile {profile}: {oids}")


def _ca_problem(certificate: x509.Certificate) -> str | None:
    """Explains why this certificate cannot be the issuer of others (RFC 5280, 4.2.1.2, 4.2.1.3 and 4.2.1.9)."""
    basic = _basic_constraints(certificate)
    if basic is None or not basic.ca:
        return "it has no basicConstraints with cA"
    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "its key usage is not keyCertSign"
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        require_signing_key(certificate.public_key())
        unsupported = name_constraints_of(certificate)[1]
    except x509.ExtensionNotFound as error:
        return f"it has no {error.oid._name}"  # noqa: SLF001 - the name that RFC 5280 gives the extension
    return (
        f"it constrains names of kinds that cannot be checked here: {', '.join(unsupported)}" if unsupported else None
    )


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _extended_key_usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()


def _verify_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    key = "its own key" if issuer is certificate else "the key of issuer_id"
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"the signature of the certificate does not verify with {key}, or another issuer signed it"
        ) from error
