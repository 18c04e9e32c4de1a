"""Generation of PINs, PUKs and management keys, and rules for those that people choose."""

from __future__ import annotations

import secrets
from itertools import pairwise

from services.yubikey.errors import DeviceError
from shared.contracts.rejection import RejectionCode

DEFAULT_PIN, DEFAULT_PUK = "123456", "12345678"
MIN_PIN_LENGTH, MAX_PIN_LENGTH = 6, 8
_DIGITS = "0123456789"


def generate_pin() -> str:
    """Generates eight random digits for a PIN or PUK, without weak ones."""
    while True:
        pin = "".join(secrets.choice(_DIGITS) for _ in range(MAX_PIN_LENGTH))
        if weakness_of(pin) is None:
            return pin


def generate_management_key(length: int) -> bytes:
    return secrets.token_bytes(length)


def require_acceptable(text: str, what: str) -> str:
    """Returns *text* if it is acceptable as *what* (PIN or PUK). Raises DeviceError, which does not quote it."""
    if (problem := weakness_of(text)) is not None:
        raise DeviceError(RejectionCode.INVALID, f"the sealed {what} {problem}")
    return text


def weakness_of(text: str) -> str | None:
    """The reason why *text* is no acceptable PIN or PUK; None: it is acceptable."""
    if not text.isascii() or not text.isprintable() or not MIN_PIN_LENGTH <= len(text) <= MAX_PIN_LENGTH:
        return f"must have {MIN_PIN_LENGTH} to {MAX_PIN_LENGTH} printable ASCII characters"
    if text in (DEFAULT_PIN, DEFAULT_PUK):
        return "is the factory default"
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    if len(steps) == 1 and steps <= {-1, 0, 1}:
        return "is a sequence or a repetition"
    return None
