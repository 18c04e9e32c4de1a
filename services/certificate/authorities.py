"""What of an authority's certificate goes into the CRLs and status answers that it, or its responder, signs."""

from functools import lru_cache
from typing import NamedTuple

from cryptography import x509

from services.certificate.public_keys import signature_algorithm
from services.certificate.signatures import VerifyingKey
from shared.contracts.key.vocabulary import SignatureAlgorithm


class Authority(NamedTuple):
    """*name* is DER: the subject as it stands in the certificate."""

    name: bytes
    key: VerifyingKey
    key_identifier: bytes
    algorithm: SignatureAlgorithm


@lru_cache(maxsize=1024)
def authority(certificate_pem: str) -> Authority:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    key = certificate.public_key()
    if not isinstance(key, VerifyingKey):
        raise TypeError("an authority's key must be one that signs")
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:  # of an authority that was made elsewhere, long ago
        identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest
    return Authority(certificate.subject.public_bytes(), key, identifier, signature_algorithm(key))
