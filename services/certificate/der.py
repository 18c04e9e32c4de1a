"""The DER (X.690) that CRLs and status answers are made of: the same values always give the same octets.

cryptography's builders are not used for them: its CRL builder takes ten thousand entries apart again for each CRL, and
its OCSP builder reads the clock for producedAt.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from shared import der
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

_LAST_YEAR_OF_UTC_TIME = 2049  # RFC 5280, 5.1.2.4
_BASE_128, _MORE = 7, 0x80
_REASONS: Mapping[RevocationReason, int] = {
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}
"""RFC 5280, 5.3.1. `unspecified` is not here: it is said by saying nothing."""
_CERTIFICATE_HOLD = 6


def integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return der.element(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def octet_string(content: bytes) -> bytes:
    return der.element(0x04, content)


def enumerated(value: int) -> bytes:
    return der.element(0x0A, bytes([value]))


def explicit(number: int, content: bytes) -> bytes:
    """A context-specific, constructed element: [*number*] EXPLICIT, or IMPLICIT of a SEQUENCE's content."""
    return der.element(0xA0 | number, content)


def object_identifier(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & (_MORE - 1)]
        while arc := arc >> _BASE_128:
            groups.append(arc & (_MORE - 1) | _MORE)
        octets += bytes(reversed(groups))
    return der.element(0x06, bytes(octets))


def generalized_time(at: datetime) -> bytes:
    return der.element(0x18, f"{at.astimezone(UTC):%Y%m%d%H%M%SZ}".encode())


def time(at: datetime) -> bytes:
    """As RFC 5280 has it: two digits of the year for as long as they tell which century is meant."""
    if at.astimezone(UTC).year > _LAST_YEAR_OF_UTC_TIME:
        return generalized_time(at)
    return der.element(0x17, f"{at.astimezone(UTC):%y%m%d%H%M%SZ}".encode())


NULL = der.element(0x05, b"")
_IDENTIFIERS: Mapping[SignatureAlgorithm, bytes] = {
    SignatureAlgorithm.RSA_PKCS1_SHA256: der.sequence(object_identifier("1.2.840.113549.1.1.11"), NULL),  # RFC 4055
    SignatureAlgorithm.RSA_PKCS1_SHA384: der.sequence(object_identifier("1.2.840.113549.1.1.12"), NULL),
    SignatureAlgorithm.ECDSA_SHA256: der.sequence(object_identifier("1.2.840.10045.4.3.2")),  # RFC 5758
    SignatureAlgorithm.ECDSA_SHA384: der.sequence(object_identifier("1.2.840.10045.4.3.3")),
    SignatureAlgorithm.ED25519: der.sequence(object_identifier("1.3.101.112")),  # RFC 8410
    SignatureAlgorithm.ML_DSA_65: der.sequence(object_identifier("2.16.840.1.101.3.4.3.18")),  # RFC 9881
}


def algorithm_identifier(algorithm: SignatureAlgorithm) -> bytes:
    return _IDENTIFIERS[algorithm]


def reason_code(reason: RevocationReason | None) -> bytes:
    """A CRLReason; None is certificateHold. Empty for `unspecified`."""
    if reason is None:
        return enumerated(_CERTIFICATE_HOLD)
    return enumerated(_REASONS[reason]) if reason in _REASONS else b""


def _extension(dotted: str, value: bytes) -> bytes:
    """One that is not critical."""
    return der.sequence(object_identifier(dotted), octet_string(value))


_REASON_EXTENSIONS = {
    reason: _extension("2.5.29.21", reason_code(reason)) if reason_code(reason) else b""
    for reason in (None, *RevocationReason)
}


def crl_entry(serial: int, at: datetime, reason: RevocationReason | None, invalidity_date: datetime | None) -> bytes:
    """One of revokedCertificates (RFC 5280, 5.1.2.6 and 5.3)."""
    extensions = _REASON_EXTENSIONS[reason]
    if invalidity_date is not None:
        extensions += _extension("2.5.29.24", generalized_time(invalidity_date))
    return der.sequence(integer(serial), time(at), der.sequence(extensions) if extensions else b"")


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
    """A TBSCertList of version 2 (RFC 5280, 5.1.2); *issuer_name* is the Name as it stands in the certificate."""
    extensions = der.sequence(
        _extension("2.5.29.35", der.sequence(der.element(0x80, key_identifier))),
        _extension("2.5.29.20", integer(number)),
    )
    return der.sequence(
        integer(1),
        algorithm_identifier(algorithm),
        issuer_name,
        time(this_update),
        time(next_update),
        der.sequence(*entries) if entries else b"",  # 5.1.2.6: of none, nothing is said
        explicit(0, extensions),
    )
