"""DER encoding of OCSP responses (RFC 6960): the ResponseData to sign and the OCSPResponse to serve."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.certificate.der import (
    NULL,
    algorithm_identifier,
    enumerated,
    explicit,
    generalized_time,
    integer,
    object_identifier,
    octet_string,
    reason_code,
)
from shared import der
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

_SHA_1, _SHA_256 = "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1"
_ID_PKIX_OCSP_BASIC: Final = object_identifier("1.3.6.1.5.5.7.48.1.1")
_GOOD: Final = der.element(0x80, b"")


@dataclass(frozen=True, slots=True)
class IssuerHashes:
    """The issuer in a CertID: hashes of its name and of its key, both by *algorithm* (an OID)."""

    algorithm: str
    name: bytes
    key: bytes


def sha_1(name: bytes, key: bytes) -> IssuerHashes:
    return IssuerHashes(_SHA_1, name, key)


def sha_256(name: bytes, key: bytes) -> IssuerHashes:
    return IssuerHashes(_SHA_256, name, key)


def good() -> bytes:
    return _GOOD


def revoked(at: datetime, reason: RevocationReason | None) -> bytes:
    """Encodes RevokedInfo; *reason* None means certificateHold (RFC 6960, 2.2)."""
    code = reason_code(reason)
    return explicit(1, generalized_time(at) + (explicit(0, code) if code else b""))


def response_data(
    responder_key_hash: bytes,
    issuer: IssuerHashes,
    serial: int,
    status: bytes,
    *,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Encodes a ResponseData with one SingleResponse, produced at *this_update*.

    It has no nonce, because it is signed before any client sends a request.
    """
    certificate_id = der.sequence(
        der.sequence(object_identifier(issuer.algorithm), NULL),
        octet_string(issuer.name),
        octet_string(issuer.key),
        integer(serial),
    )
    single = der.sequence(
        certificate_id, status, generalized_time(this_update), explicit(0, generalized_time(next_update))
    )
    by_key = explicit(2, octet_string(responder_key_hash))
    return der.sequence(by_key, generalized_time(this_update), der.sequence(single))


def response(tbs: bytes, algorithm: SignatureAlgorithm, signature: bytes, responder_certificate: bytes) -> bytes:
    """Encodes a `successful` OCSPResponse that carries the responder's certificate."""
    basic = der.sequence(
        tbs,
        algorithm_identifier(algorithm),
        der.bit_string(signature),
        explicit(0, der.sequence(responder_certificate)),
    )
    return der.sequence(enumerated(0), explicit(0, der.sequence(_ID_PKIX_OCSP_BASIC, octet_string(basic))))
