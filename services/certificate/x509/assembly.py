"""The certificate itself: what was to be signed and its signature, put together once they belong together."""

import base64
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from services.certificate.public_keys import SigningKey, signing
from services.certificate.signatures import verify
from services.certificate.x509.effects import Assembled, AttachSignature, SignatureWrong
from shared import der
from shared.errors import Poison


def attach(plan: AttachSignature) -> Assembled | SignatureWrong:
    tbs = base64.b64decode(plan.created.tbs)
    try:
        verify(_public_key(plan.created.issuer_public_key_pem), plan.created.signature_algorithm, plan.signature, tbs)
    except InvalidSignature:
        return SignatureWrong(plan.certificate_id)
    encoded = der.sequence(tbs, algorithm_identifier(tbs), der.bit_string(plan.signature))
    certificate = x509.load_der_x509_certificate(encoded)
    if certificate.tbs_certificate_bytes != tbs or f"{certificate.serial_number:x}" != plan.created.serial:
        raise Poison(f"what was assembled of {plan.certificate_id} is not what was signed")
    return Assembled(plan, certificate.public_bytes(Encoding.PEM).decode(), sha256(encoded).hexdigest())


@lru_cache(maxsize=1024)
def _public_key(pem: str) -> SigningKey:
    return signing(load_pem_public_key(pem.encode()))


def algorithm_identifier(tbs: bytes) -> bytes:
    """The AlgorithmIdentifier as it stands in *tbs*: it must be the same there and outside (RFC 5280, 4.1.1.2)."""
    at = der.content(tbs)[0]
    for _ in ("version", "serialNumber"):
        at = der.content(tbs, at)[1]
    return tbs[at : der.content(tbs, at)[1]]
