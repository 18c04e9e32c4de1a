"""PINs, PUKs and management keys: how they are drawn, and which a person may not choose."""

from __future__ import annotations

import secrets
from itertools import pairwise

from services.yubikey.errors import DeviceError
from shared.contracts.rejection import RejectionCode

DEFAULT_PIN, DEFAULT_PUK = "123456", "12345678"
SHORTEST_PIN, LONGEST = 6, 8
_DIGITS = "0123456789"


def draw() -> str:
    """Eight digits that nobody would choose: a PIN, or a PUK."""
    while True:
        drawn = "".join(secrets.choice(_DIGITS) for _ in range(LONGEST))
        if problem_with(drawn) is None:
            return drawn


def draw_key(length: int) -> bytes:
    return secrets.token_bytes(length)


def chosen(text: str, what: str) -> str:
    """What a person chose as *what*, if it may be. Raises DeviceError, which does not repeat it."""
    if (problem := problem_with(text)) is not None:
        raise DeviceError(RejectionCode.INVALID, f"the {what} that was sealed {problem}")
    return text


def problem_with(text: str) -> str | None:
    """Why it must not be a PIN or PUK; None: it may."""
    if not text.isascii() or not text.isprintable() or not SHORTEST_PIN <= len(text) <= LONGEST:
        return f"must have {SHORTEST_PIN} to {LONGEST} characters of ASCII"
    if text in (DEFAULT_PIN, DEFAULT_PUK):
        return "is the one that every YubiKey is sold with"
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    if len(steps) == 1 and steps <= {-1, 0, 1}:
        return "is a sequence or a repetition"
    return None
