"""Facts about the signer of CRLs or OCSP responses, parsed from its certificate."""

from functools import lru_cache
from typing import NamedTuple

from cryptography import x509

from services.certificate.public_keys import signature_algorithm
from services.certificate.signatures import VerifyingKey
from shared.contracts.key.value_types import SignatureAlgorithm


class Signer(NamedTuple):
    """An issuer or OCSP responder. *name* is the DER of the subject, octet for octet as in the certificate."""

    name: bytes
    key: VerifyingKey
    key_identifier: bytes
    algorithm: SignatureAlgorithm


@lru_cache(maxsize=1024)
def signer_of(certificate_pem: str) -> Signer:
    """Parses the certificate of an issuer or of an OCSP responder."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    key = certificate.public_key()
    if not isinstance(key, VerifyingKey):
        raise TypeError("an issuer's key must be a signing key")
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:  # imported CA certificates may lack the extension
        identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest
    return Signer(
        name=certificate.subject.public_bytes(),
        key=key,
        key_identifier=identifier,
        algorithm=signature_algorithm(key),
    )
