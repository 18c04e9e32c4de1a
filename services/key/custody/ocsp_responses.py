"""Which ResponseData an OCSP-signing key signs (RFC 6960, 4.2.1): one answer, of its own, that does not stand long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509 import ocsp

from services.key.custody.tbs import IDENTIFIERS, UNREADABLE, NotToBeSignedError, said
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.der import bit_string, sequence

_LONGEST = timedelta(days=31)
_SUCCESSFUL = bytes.fromhex("0a0100")
_BASIC_RESPONSE = bytes.fromhex("06092b0601050507300101")


def require_response_data(message: bytes, algorithm: SignatureAlgorithm, public_key: CertificatePublicKeyTypes) -> None:
    basic = sequence(message, IDENTIFIERS[algorithm], bit_string(b""))
    finished = sequence(_SUCCESSFUL, _tagged(0xA0, sequence(_BASIC_RESPONSE, _tagged(0x04, basic))))
    try:
        response = ocsp.load_der_ocsp_response(finished)
        _require_whole(response, message)
        _require_responder(response, public_key)
        _require_one_answer([*response.responses])
        _require_understood(response)
    except NotToBeSignedError:
        raise
    except UNREADABLE as error:
        raise NotToBeSignedError(f"no ResponseData of an OCSP response (RFC 6960, 4.2.1): {said(error)}") from None


def _require_whole(response: ocsp.OCSPResponse, message: bytes) -> None:
    if response.tbs_response_bytes != message:
        raise NotToBeSignedError("there is more than one ResponseData")


def _require_understood(response: ocsp.OCSPResponse) -> None:
    for extension in (*response.extensions, *response.single_extensions):
        if extension.critical:
            raise NotToBeSignedError(f"its critical extension {extension.oid.dotted_string} is not understood here")


def _require_responder(response: ocsp.OCSPResponse, public_key: CertificatePublicKeyTypes) -> None:
    responder = response.responder_key_hash
    if responder is None:
        raise NotToBeSignedError("its responder must be named by its key, not by its name (RFC 6960, 4.2.1)")
    if responder != x509.SubjectKeyIdentifier.from_public_key(public_key).digest:
        raise NotToBeSignedError("its responder is another key: the SHA-1 hash must be that of this public key")


def _require_one_answer(answers: Sequence[ocsp.OCSPSingleResponse]) -> None:
    if len(answers) != 1:
        raise NotToBeSignedError(f"it has {len(answers)} single responses, and exactly one is signed at a time")
    answer = answers[0]
    _ = answer.certificate_status, answer.revocation_time_utc, answer.serial_number, answer.hash_algorithm
    begins, ends = answer.this_update_utc, answer.next_update_utc
    if ends is None:
        raise NotToBeSignedError("it has no nextUpdate, so it would stand for ever")
    if not begins <= ends <= begins + _LONGEST:
        raise NotToBeSignedError(f"its nextUpdate must be after thisUpdate, and within {_LONGEST.days} days of it")


def _tagged(tag: int, content: bytes) -> bytes:
    """*content* in an element of another tag: the lengths are those of a SEQUENCE."""
    return bytes([tag]) + sequence(content)[1:]
