"""ASN.1 structures of RFC 5280 that this service encodes in DER: CRLs, their entries, and signed objects.

Encoding is a function of the values, so equal values give equal octets. `cryptography`'s own builders do not fit: the
CRL builder requires a private key and every entry again for each CRL, and the OCSP builder reads the clock (ADR 0014).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID, SignatureAlgorithmOID

from shared import der
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

_LAST_YEAR_OF_UTC_TIME = 2049  # RFC 5280, 5.1.2.4
_VERSION_2 = 1
_ML_DSA_65: Final = ObjectIdentifier("2.16.840.1.101.3.4.3.18")  # RFC 9881, 2
_REASON_CODES: Mapping[RevocationReason | None, int] = {
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    None: 6,  # certificateHold
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}
"""RFC 5280, 5.3.1. `unspecified` is missing: the RFC recommends to leave the reason code out instead."""

Time = asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class AlgorithmIdentifier:
    """RFC 5280, 4.1.1.2. RSA has NULL parameters (RFC 4055, 5), the other algorithms have none."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Extension:
    extn_id: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    extn_value: bytes


@asn1.sequence
class _RevokedCertificate:
    """An element of revokedCertificates (RFC 5280, 5.1)."""

    user_certificate: int
    revocation_date: Time
    crl_entry_extensions: list[_Extension] | None


@asn1.sequence
class _TbsCertList:
    """RFC 5280, 5.1. The entries are encoded already."""

    version: int
    signature: AlgorithmIdentifier
    issuer: asn1.TLV
    this_update: Time
    next_update: Time
    revoked_certificates: asn1.TLV
    crl_extensions: Annotated[list[_Extension], asn1.Explicit(0)]


@asn1.sequence
class _EmptyTbsCertList:
    """A TBSCertList without revokedCertificates (RFC 5280, 5.1.2.6); `asn1` has no optional TLV."""

    version: int
    signature: AlgorithmIdentifier
    issuer: asn1.TLV
    this_update: Time
    next_update: Time
    crl_extensions: Annotated[list[_Extension], asn1.Explicit(0)]


@asn1.sequence
class _AuthorityKeyIdentifier:
    key_identifier: Annotated[bytes, asn1.Implicit(0)]


@asn1.sequence
class _Signed:
    """Certificate and CertificateList have this shape (RFC 5280, 4.1 and 5.1)."""

    tbs: asn1.TLV
    signature_algorithm: AlgorithmIdentifier
    signature: asn1.BitString


_ALGORITHM_IDENTIFIERS: Mapping[SignatureAlgorithm, AlgorithmIdentifier] = {
    algorithm: AlgorithmIdentifier(algorithm=identifier, parameters=parameters)
    for algorithm, identifier, parameters in (
        (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithmOID.RSA_WITH_SHA256, asn1.Null()),
        (SignatureAlgorithm.RSA_PKCS1_SHA384, SignatureAlgorithmOID.RSA_WITH_SHA384, asn1.Null()),
        (SignatureAlgorithm.ECDSA_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA256, None),  # RFC 5758, 3.2
        (SignatureAlgorithm.ECDSA_SHA384, SignatureAlgorithmOID.ECDSA_WITH_SHA384, None),
        (SignatureAlgorithm.ED25519, SignatureAlgorithmOID.ED25519, None),  # RFC 8410, 3
        (SignatureAlgorithm.ML_DSA_65, _ML_DSA_65, None),
    )
}


def algorithm_identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifier:
    """Returns the AlgorithmIdentifier of *algorithm*."""
    return _ALGORITHM_IDENTIFIERS[algorithm]


def tlv(encoded: bytes) -> asn1.TLV:
    """Returns an element that is DER already, for use as a field."""
    return asn1.decode_der(asn1.TLV, encoded)


def generalized_time(at: datetime) -> asn1.GeneralizedTime:
    return asn1.GeneralizedTime(_whole_seconds(at))


def time(at: datetime) -> Time:
    """Returns a UTCTime through the year 2049, and a GeneralizedTime after it (RFC 5280, 5.1.2.4)."""
    utc = _whole_seconds(at)
    return asn1.UTCTime(utc) if utc.year <= _LAST_YEAR_OF_UTC_TIME else asn1.GeneralizedTime(utc)


def _whole_seconds(at: datetime) -> datetime:
    """Converts to UTC and drops fractions, which RFC 5280 and RFC 6960 do not allow."""
    utc = at.astimezone(UTC)
    return utc.replace(microsecond=0) if utc.microsecond else utc


def encode_enumerated(value: int) -> bytes:
    """Returns an ENUMERATED of one octet; `asn1` has no such type."""
    return der.element(0x0A, bytes([value]))


def reason_code(reason: RevocationReason | None) -> bytes | None:
    """Returns the CRLReason of *reason*, that of certificateHold for None; None for `unspecified`."""
    code = _REASON_CODES.get(reason)
    return None if code is None else encode_enumerated(code)


def _reason_extension(reason: RevocationReason | None) -> list[_Extension]:
    code = reason_code(reason)
    return [] if code is None else [_extension(CRLEntryExtensionOID.CRL_REASON, code)]


def _extension(identifier: ObjectIdentifier, value: bytes) -> _Extension:
    return _Extension(extn_id=identifier, critical=False, extn_value=value)


_REASON_EXTENSIONS = {reason: _reason_extension(reason) for reason in (None, *RevocationReason)}


def crl_entry(serial: int, at: datetime, reason: RevocationReason | None, invalidity_date: datetime | None) -> bytes:
    """Encodes one element of revokedCertificates (RFC 5280, 5.1.2.6 and 5.3)."""
    extensions = _REASON_EXTENSIONS[reason]
    if invalidity_date is not None:
        value = asn1.encode_der(generalized_time(invalidity_date))
        extensions = [*extensions, _extension(CRLEntryExtensionOID.INVALIDITY_DATE, value)]
    entry = _RevokedCertificate(
        user_certificate=serial, revocation_date=time(at), crl_entry_extensions=extensions or None
    )
    return asn1.encode_der(entry)


def tbs_cert_list(
    algorithm: SignatureAlgorithm,
    *,
    issuer_name: bytes,
    this_update: datetime,
    next_update: datetime,
    entries: Sequence[bytes],
    key_identifier: bytes,
    number: int,
) -> bytes:
    """Encodes a TBSCertList of version 2 (RFC 5280, 5.1.2); *issuer_name* is the encoded subject of the issuer."""
    aki = asn1.encode_der(_AuthorityKeyIdentifier(key_identifier=key_identifier))
    extensions = [
        _extension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER, aki),
        _extension(ExtensionOID.CRL_NUMBER, asn1.encode_der(number)),
    ]
    if not entries:
        empty = _EmptyTbsCertList(
            version=_VERSION_2,
            signature=algorithm_identifier(algorithm),
            issuer=tlv(issuer_name),
            this_update=time(this_update),
            next_update=time(next_update),
            crl_extensions=extensions,
        )
        return asn1.encode_der(empty)
    complete = _TbsCertList(
        version=_VERSION_2,
        signature=algorithm_identifier(algorithm),
        issuer=tlv(issuer_name),
        this_update=time(this_update),
        next_update=time(next_update),
        revoked_certificates=tlv(der.sequence(*entries)),  # joining 10,000 encoded entries takes 0.5 ms
        crl_extensions=extensions,
    )
    return asn1.encode_der(complete)


def encode_signed(tbs: bytes, algorithm: SignatureAlgorithm, signature: bytes) -> bytes:
    """Encodes a Certificate or CertificateList from its TBS part and its signature."""
    value = _Signed(
        tbs=tlv(tbs),
        signature_algorithm=algorithm_identifier(algorithm),
        signature=asn1.BitString(signature, 0),
    )
    return asn1.encode_der(value)
