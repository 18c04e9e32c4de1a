"""ASN.1 structures of RFC 6960 that this service encodes in DER: OCSP responses and their signed part."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from services.certificate.der import (
    AlgorithmIdentifier,
    algorithm_identifier,
    encode_enumerated,
    generalized_time,
    reason_code,
    tlv,
)
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

_SHA_1: Final = ObjectIdentifier("1.3.14.3.2.26")
_SHA_256: Final = ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_ID_PKIX_OCSP_BASIC: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.1")
_SUCCESSFUL: Final = tlv(encode_enumerated(0))
_GOOD: Final = asn1.Null()


@asn1.sequence
class _CertId:
    hash_algorithm: AlgorithmIdentifier
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@asn1.sequence
class _RevokedInfo:
    revocation_time: asn1.GeneralizedTime
    revocation_reason: Annotated[asn1.TLV, asn1.Explicit(0)]


@asn1.sequence
class _RevokedInfoWithoutReason:
    revocation_time: asn1.GeneralizedTime


CertStatus = asn1.Null | _RevokedInfo | _RevokedInfoWithoutReason


@asn1.sequence
class _SingleResponse:
    cert_id: _CertId
    cert_status: (
        Annotated[asn1.Null, asn1.Implicit(0)]
        | Annotated[_RevokedInfo, asn1.Implicit(1)]
        | Annotated[_RevokedInfoWithoutReason, asn1.Implicit(1)]
    )
    this_update: asn1.GeneralizedTime
    next_update: Annotated[asn1.GeneralizedTime, asn1.Explicit(0)]


@asn1.sequence
class _ResponseData:
    responder_id: Annotated[bytes, asn1.Explicit(2)]
    produced_at: asn1.GeneralizedTime
    responses: list[_SingleResponse]


@asn1.sequence
class _BasicOcspResponse:
    tbs_response_data: asn1.TLV
    signature_algorithm: AlgorithmIdentifier
    signature: asn1.BitString
    certs: Annotated[list[asn1.TLV], asn1.Explicit(0)]


@asn1.sequence
class _ResponseBytes:
    response_type: ObjectIdentifier
    response: bytes


@asn1.sequence
class _OcspResponse:
    response_status: asn1.TLV
    response_bytes: Annotated[_ResponseBytes, asn1.Explicit(0)]


@dataclass(frozen=True, slots=True)
class IssuerHashes:
    """The issuer in a CertID: hashes of its name and of its key, both by *algorithm*."""

    algorithm: ObjectIdentifier
    name: bytes
    key: bytes


def sha_1(name: bytes, key: bytes) -> IssuerHashes:
    return IssuerHashes(_SHA_1, name, key)


def sha_256(name: bytes, key: bytes) -> IssuerHashes:
    return IssuerHashes(_SHA_256, name, key)


def good() -> CertStatus:
    return _GOOD


def revoked(at: datetime, reason: RevocationReason | None) -> CertStatus:
    """Returns the status of a revoked certificate, or of one on hold where *reason* is None (RFC 6960, 2.2)."""
    code, revocation_time = reason_code(reason), generalized_time(at)
    if code is None:
        return _RevokedInfoWithoutReason(revocation_time=revocation_time)
    return _RevokedInfo(revocation_time=revocation_time, revocation_reason=tlv(code))


def response_data(
    responder_key_hash: bytes,
    issuer: IssuerHashes,
    serial: int,
    status: CertStatus,
    *,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Encodes a ResponseData with one SingleResponse, produced at *this_update*.

    It has no nonce, because it is signed before any client sends a request.
    """
    certificate_id = _CertId(
        hash_algorithm=AlgorithmIdentifier(algorithm=issuer.algorithm, parameters=asn1.Null()),
        issuer_name_hash=issuer.name,
        issuer_key_hash=issuer.key,
        serial_number=serial,
    )
    produced_at = generalized_time(this_update)
    single = _SingleResponse(
        cert_id=certificate_id, cert_status=status, this_update=produced_at, next_update=generalized_time(next_update)
    )
    return asn1.encode_der(_ResponseData(responder_id=responder_key_hash, produced_at=produced_at, responses=[single]))


def response(tbs: bytes, algorithm: SignatureAlgorithm, signature: bytes, responder_certificate: bytes) -> bytes:
    """Encodes a successful OCSPResponse that carries the responder's certificate."""
    basic = _BasicOcspResponse(
        tbs_response_data=tlv(tbs),
        signature_algorithm=algorithm_identifier(algorithm),
        signature=asn1.BitString(signature, 0),
        certs=[tlv(responder_certificate)],
    )
    content = _ResponseBytes(response_type=_ID_PKIX_OCSP_BASIC, response=asn1.encode_der(basic))
    return asn1.encode_der(_OcspResponse(response_status=_SUCCESSFUL, response_bytes=content))
