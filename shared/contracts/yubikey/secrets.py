"""Commands and events about a device's PIN, PUK and management key, which messages carry only sealed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.contracts.base import Base64, Command, Event
from shared.contracts.yubikey.devices import (
    KeyHolder,
    ManagementKeyAlgorithm,
    PukPolicy,
    Retries,
)
from shared.contracts.yubikey.slots import YubiKeyMessage

SealedSecret = Annotated[
    Base64 | None,
    Field(
        max_length=1024,
        description="HPKE(X25519, HKDF-SHA256, AES-256-GCM) to the key in `yubikey.detected`; default: generated",
    ),
]


class DeviceSecret(StrEnum):
    PIN = "pin"
    PUK = "puk"
    MANAGEMENT_KEY = "management-key"


def secret_info(serial: str, secret: DeviceSecret) -> bytes:
    """Builds the HPKE `info` of a device secret, sent to the service or by it."""
    return f"cim-keys/yubikey-secret/v1/{serial}/{secret}".encode()


class ConfigurePin(YubiKeyMessage, Command):
    sealed_pin: SealedSecret = None


class ConfigurePuk(YubiKeyMessage, Command):
    policy: PukPolicy = PukPolicy.ESCROW
    sealed_puk: SealedSecret = None


class RotateManagementKey(YubiKeyMessage, Command):
    """Generate a new management key, which replaces the old one."""

    algorithm: ManagementKeyAlgorithm | None = Field(default=None, description="default: AES-192, 3DES before 5.4.2")
    held_by: KeyHolder = KeyHolder.SERVICE


class SetRetries(YubiKeyMessage, Command):
    """Set the retry limits of PIN and PUK. The device resets both to factory values; the service sets them again."""

    pin_retries: Retries
    puk_retries: Retries


class UnblockPin(YubiKeyMessage, Command):
    """Set a new PIN with the escrowed PUK, which restores all retries."""

    sealed_pin: SealedSecret = None


class AdoptSecrets(YubiKeyMessage, Command):
    """Adopt secrets that were set elsewhere. Each is tried once, and only if at least two retries are left."""

    sealed_pin: SealedSecret = None
    sealed_puk: SealedSecret = None
    sealed_management_key: SealedSecret = None


class ReleaseSecret(YubiKeyMessage, Command):
    """Release a stored secret, sealed to a recipient."""

    secret: DeviceSecret
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")


class _SecretReport(YubiKeyMessage, Event):
    simulated: bool = Field(description="true: the device is a virtual one")


class PinConfigured(_SecretReport):
    retries: int = Field(description="retries from now on")


class PukConfigured(_SecretReport):
    policy: PukPolicy


class ManagementKeyRotated(_SecretReport):
    algorithm: ManagementKeyAlgorithm
    held_by: KeyHolder


class RetriesSet(_SecretReport):
    pin_retries: Retries
    puk_retries: Retries


class YubiKeyUnlocked(_SecretReport):
    retries: int


class SecretsAdopted(_SecretReport):
    adopted: tuple[DeviceSecret, ...]


class SecretReleased(_SecretReport):
    secret: DeviceSecret
    sealed_secret: Base64 = Field(description="UTF-8 text; a management key as hexadecimal digits")
    recipient_public_key: Base64


SecretCommand = (
    ConfigurePin | ConfigurePuk | RotateManagementKey | SetRetries | UnblockPin | AdoptSecrets | ReleaseSecret
)
SecretEvent = (
    PinConfigured
    | PukConfigured
    | ManagementKeyRotated
    | RetriesSet
    | YubiKeyUnlocked
    | SecretsAdopted
    | SecretReleased
)
