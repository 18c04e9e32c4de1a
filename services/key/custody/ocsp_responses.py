"""Rules for a ResponseData (RFC 6960, 4.2.1): one SingleResponse, by this responder, of limited validity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509 import ocsp

from services.key.custody.tbs import ALGORITHM_IDENTIFIERS, PARSE_ERRORS, NotSignableError, describe_error
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.der import bit_string, sequence

_MAX_VALIDITY = timedelta(days=31)
_SUCCESSFUL = bytes.fromhex("0a0100")
_BASIC_RESPONSE = bytes.fromhex("06092b0601050507300101")


def require_response_data(message: bytes, algorithm: SignatureAlgorithm, public_key: CertificatePublicKeyTypes) -> None:
    """Checks a ResponseData, which it wraps into an OCSPResponse to have it parsed."""
    basic = sequence(message, ALGORITHM_IDENTIFIERS[algorithm], bit_string(b""))
    finished = sequence(_SUCCESSFUL, _tagged(0xA0, sequence(_BASIC_RESPONSE, _tagged(0x04, basic))))
    try:
        response = ocsp.load_der_ocsp_response(finished)
        _require_whole(response, message)
        _require_responder(response, public_key)
        _require_single_response([*response.responses])
        _require_understood(response)
    except NotSignableError:
        raise
    except PARSE_ERRORS as error:
        raise NotSignableError(
            f"no ResponseData of an OCSP response (RFC 6960, 4.2.1): {describe_error(error)}"
        ) from None


def _require_whole(response: ocsp.OCSPResponse, message: bytes) -> None:
    if response.tbs_response_bytes != message:
        raise NotSignableError("there is more than one ResponseData")


def _require_understood(response: ocsp.OCSPResponse) -> None:
    for extension in (*response.extensions, *response.single_extensions):
        if extension.critical:
            raise NotSignableError(f"its critical extension {extension.oid.dotted_string} is not understood here")


def _require_responder(response: ocsp.OCSPResponse, public_key: CertificatePublicKeyTypes) -> None:
    responder = response.responder_key_hash
    if responder is None:
        raise NotSignableError("its responder must be named by its key, not by its name (RFC 6960, 4.2.1)")
    if responder != x509.SubjectKeyIdentifier.from_public_key(public_key).digest:
        raise NotSignableError("its responder is another key: the SHA-1 hash must be that of this public key")


def _require_single_response(responses: Sequence[ocsp.OCSPSingleResponse]) -> None:
    if len(responses) != 1:
        raise NotSignableError(f"it has {len(responses)} single responses, and exactly one is signed at a time")
    single = responses[0]
    _ = single.certificate_status, single.revocation_time_utc, single.serial_number, single.hash_algorithm
    this_update, next_update = single.this_update_utc, single.next_update_utc
    if next_update is None:
        raise NotSignableError("it has no nextUpdate, so it would never expire")
    if not this_update <= next_update <= this_update + _MAX_VALIDITY:
        raise NotSignableError(f"its nextUpdate must be after thisUpdate, and within {_MAX_VALIDITY.days} days of it")


def _tagged(tag: int, content: bytes) -> bytes:
    """Encodes *content* under another tag than SEQUENCE."""
    return bytes([tag]) + sequence(content)[1:]
