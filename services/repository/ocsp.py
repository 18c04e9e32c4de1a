"""What an OCSP request asks for, and the answers that need no signature (RFC 6960, 4.2.1; RFC 5019)."""

import base64
import binascii
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import (
    OCSPRequest,
    OCSPResponseBuilder,
    OCSPResponseStatus,
    load_der_ocsp_request,
    load_der_ocsp_response,
)

from services.repository.responses import Particulars, etag_of

_HASHES: Final = (hashes.SHA1, hashes.SHA256)


def _unsigned(status: OCSPResponseStatus) -> bytes:
    return OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


class Unsigned(Enum):
    """UNAUTHORIZED is what RFC 5019, 2.2.3 says where there is no answer made before: nothing is known of it here."""

    MALFORMED_REQUEST = _unsigned(OCSPResponseStatus.MALFORMED_REQUEST)
    TRY_LATER = _unsigned(OCSPResponseStatus.TRY_LATER)
    UNAUTHORIZED = _unsigned(OCSPResponseStatus.UNAUTHORIZED)


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the answer to a request stands in KEYS_VIEWS."""

    key: str


def asked_by(request: bytes) -> Asked | Unsigned:
    """A nonce is passed over: what was signed before it was asked for cannot repeat it (RFC 5019, 4)."""
    try:
        return _asked(load_der_ocsp_request(request))
    except ValueError:
        return Unsigned.MALFORMED_REQUEST
    except NotImplementedError:  # several at once: an answer to the first only would pass for one to all
        return Unsigned.UNAUTHORIZED
    except UnsupportedAlgorithm:
        return Unsigned.UNAUTHORIZED


def _asked(request: OCSPRequest) -> Asked | Unsigned:
    digest, key_hash = request.hash_algorithm, request.issuer_key_hash
    if not isinstance(digest, _HASHES) or len(key_hash) != digest.digest_size or request.serial_number <= 0:
        return Unsigned.UNAUTHORIZED
    return Asked(f"ocsp.{key_hash.hex()}.{request.serial_number:x}")


def from_path(text: str) -> bytes:
    """The request in a path, whose percent-encoding is undone already (RFC 6960, A.1); b"" is what none can be."""
    try:
        return base64.b64decode(text.lstrip("/"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def particulars(response: bytes) -> Particulars:
    answer = load_der_ocsp_response(response)
    return Particulars(etag_of(response), answer.this_update_utc, answer.next_update_utc)
