"""Device secrets at the terminal: reveal, choose, answer a prompt.

This module encrypts and decrypts secrets, so that no message contains one in clear text.
"""

from __future__ import annotations

import base64
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nats.js import JetStreamContext

from services.console.client import Exit, Failure, last_event
from services.console.wire_message import WireMessage
from shared.contracts.yubikey.prompts import pin_info
from shared.contracts.yubikey.secrets import DeviceSecret, secret_info

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
Send = Callable[[str, dict[str, Any]], Awaitable[WireMessage]]
"""Publishes a command with this name and body, and returns its outcome."""


async def reveal(send: Send, serial: str, secret: DeviceSecret) -> str | WireMessage:
    """Returns the secret, or the rejection of the request."""
    private_key = X25519PrivateKey.generate()
    recipient = base64.b64encode(private_key.public_key().public_bytes_raw()).decode()
    outcome = await send(
        "yubikey.release-secret", {"serial": serial, "secret": str(secret), "recipient_public_key": recipient}
    )
    if "sealed_secret" not in outcome.body:
        return outcome
    try:
        sealed = base64.b64decode(str(outcome.body["sealed_secret"]))
        return SUITE.decrypt(sealed, private_key, secret_info(serial, secret)).decode()
    except (InvalidTag, ValueError) as error:
        raise Failure(Exit.NOT_DONE, "the released secret does not decrypt with the key of this request") from error


async def choose(send: Send, serial: str, secret: DeviceSecret, text: str) -> WireMessage:
    """Sets the PIN or PUK to *text* and returns the outcome."""
    detected = await send("yubikey.detect", {"serial": serial})
    if "recipient_public_key" not in detected.body:
        return detected
    sealed = _seal(text, str(detected.body["recipient_public_key"]), secret_info(serial, secret))
    return await send(f"yubikey.configure-{secret}", {"serial": serial, f"sealed_{secret}": sealed})


async def answer_prompt(js: JetStreamContext, send: Send, prompt_id: str, pin: str) -> WireMessage:
    """Answers the prompt with *pin* and returns the outcome. Raises Failure for a prompt that needs no PIN."""
    raised = await last_event(js, f"keys.events.prompt.raised.{prompt_id}")
    if raised is None:
        raise Failure(Exit.NOT_DONE, f"there is no prompt {prompt_id}; cim-keys watch shows them as they come")
    recipient = raised.body.get("recipient_public_key")
    if recipient is None:
        raise Failure(Exit.NOT_DONE, f"prompt {prompt_id} needs no PIN: touch YubiKey {raised.body['serial']}")
    sealed = _seal(pin, str(recipient), pin_info(str(raised.body["serial"]), prompt_id))
    return await send("prompt.answer", {"prompt_id": prompt_id, "sealed_pin": sealed})


def read_secret(label: str) -> str:
    """Reads a secret from the terminal without echo, or the first line from a pipe."""
    typed = getpass.getpass(f"{label}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not typed:
        raise Failure(Exit.WRONG_USAGE, f"no {label} was given")
    return typed


def _seal(text: str, recipient: str, info: bytes) -> str:
    public_key = X25519PublicKey.from_public_bytes(base64.b64decode(recipient))
    return base64.b64encode(SUITE.encrypt(text.encode(), public_key, info)).decode()
