"""OCSP requests and the responses that need no signature (RFC 6960, 4.2.1; RFC 5019)."""

import base64
import binascii
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

from services.repository.responses import DocumentMetadata, etag_of

_HASHES: Final = (hashes.SHA1, hashes.SHA256)


def _unsuccessful(status: OCSPResponseStatus) -> bytes:
    return OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


class UnsignedResponse(Enum):
    """Error responses of RFC 6960, 4.2.1. UNAUTHORIZED: no pre-signed response exists (RFC 5019, 2.2.3)."""

    MALFORMED_REQUEST = _unsuccessful(OCSPResponseStatus.MALFORMED_REQUEST)
    TRY_LATER = _unsuccessful(OCSPResponseStatus.TRY_LATER)
    UNAUTHORIZED = _unsuccessful(OCSPResponseStatus.UNAUTHORIZED)


def response_key(request: bytes) -> str | UnsignedResponse:
    """Returns the key in KEYS_VIEWS of the response to *request*, or the error that answers it.

    It ignores nonces: a pre-signed response cannot repeat one (RFC 5019, 4).
    """
    try:
        return _response_key(load_der_ocsp_request(request))
    except ValueError:
        return UnsignedResponse.MALFORMED_REQUEST
    except NotImplementedError:  # several certificates: a response about the first would pass for one about all
        return UnsignedResponse.UNAUTHORIZED
    except UnsupportedAlgorithm:
        return UnsignedResponse.UNAUTHORIZED


def _response_key(request: OCSPRequest) -> str | UnsignedResponse:
    digest, key_hash = request.hash_algorithm, request.issuer_key_hash
    if not isinstance(digest, _HASHES) or len(key_hash) != digest.digest_size or request.serial_number <= 0:
        return UnsignedResponse.UNAUTHORIZED
    return f"ocsp.{key_hash.hex()}.{request.serial_number:x}"


def decode_path(text: str) -> bytes:
    """Returns the request in a percent-decoded path (RFC 6960, A.1), or b"" for anything but base64."""
    try:
        return base64.b64decode(text.lstrip("/"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def read_metadata(response: bytes) -> DocumentMetadata:
    parsed = load_der_ocsp_response(response)
    return DocumentMetadata(etag_of(response), parsed.this_update_utc, parsed.next_update_utc)
