"""A device's secrets for the person at the terminal: revealed to it, chosen at it, given to a command that waits.

They are sealed and opened here; no message has them in the clear.
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

from services.console.client import Exit, Failure, last
from services.console.wire_message import Heard
from shared.contracts.yubikey.prompts import pin_info
from shared.contracts.yubikey.secrets import DeviceSecret, secret_info

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
Send = Callable[[str, dict[str, Any]], Awaitable[Heard]]
"""Publish a command of that name and body, and return its outcome."""


async def revealed(send: Send, serial: str, secret: DeviceSecret) -> str | Heard:
    """The secret, or what the service answered instead."""
    mine = X25519PrivateKey.generate()
    recipient = base64.b64encode(mine.public_key().public_bytes_raw()).decode()
    outcome = await send(
        "yubikey.release-secret", {"serial": serial, "secret": str(secret), "recipient_public_key": recipient}
    )
    if "sealed_secret" not in outcome.body:
        return outcome
    try:
        sealed = base64.b64decode(str(outcome.body["sealed_secret"]))
        return SUITE.decrypt(sealed, mine, secret_info(serial, secret)).decode()
    except (InvalidTag, ValueError) as error:
        raise Failure(Exit.NOT_DONE, "what was released does not open with the key that was sent") from error


async def chosen(send: Send, serial: str, secret: DeviceSecret, text: str) -> Heard:
    """What came of setting the PIN or PUK to *text*."""
    detected = await send("yubikey.detect", {"serial": serial})
    if "recipient_public_key" not in detected.body:
        return detected
    sealed = _sealed(text, str(detected.body["recipient_public_key"]), secret_info(serial, secret))
    return await send(f"yubikey.configure-{secret}", {"serial": serial, f"sealed_{secret}": sealed})


async def answered(js: JetStreamContext, send: Send, prompt_id: str, pin: str) -> Heard:
    """What came of giving *pin* to the command that waits for it. Raises Failure for a prompt that wants none."""
    raised = await last(js, f"keys.events.prompt.raised.{prompt_id}")
    if raised is None:
        raise Failure(Exit.NOT_DONE, f"there is no prompt {prompt_id}; cim-keys watch shows them as they come")
    recipient = raised.body.get("recipient_public_key")
    if recipient is None:
        raise Failure(Exit.NOT_DONE, f"prompt {prompt_id} wants no PIN: touch YubiKey {raised.body['serial']}")
    sealed = _sealed(pin, str(recipient), pin_info(str(raised.body["serial"]), prompt_id))
    return await send("prompt.answer", {"prompt_id": prompt_id, "sealed_pin": sealed})


def asked(what: str) -> str:
    """What the person types, unseen; or the first line of what is piped in."""
    typed = getpass.getpass(f"{what}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not typed:
        raise Failure(Exit.WRONG_USAGE, f"no {what} was given")
    return typed


def _sealed(text: str, recipient: str, info: bytes) -> str:
    public_key = X25519PublicKey.from_public_bytes(base64.b64decode(recipient))
    return base64.b64encode(SUITE.encrypt(text.encode(), public_key, info)).decode()
