"""A device's PIN, PUK and management key: how they are set, kept and given out. In messages they are sealed."""

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
        description="HPKE(X25519, HKDF-SHA256, AES-256-GCM) to the key that `detected` told; default: drawn here",
    ),
]


class DeviceSecret(StrEnum):
    PIN = "pin"
    PUK = "puk"
    MANAGEMENT_KEY = "management-key"


def secret_info(serial: str, secret: DeviceSecret) -> bytes:
    """HPKE's `info` for a secret of a device, on its way to this service or from it."""
    return f"cim-keys/yubikey-secret/v1/{serial}/{secret}".encode()


class ConfigurePin(YubiKeyMessage, Command):
    sealed_pin: SealedSecret = None


class ConfigurePuk(YubiKeyMessage, Command):
    policy: PukPolicy = PukPolicy.ESCROW
    sealed_puk: SealedSecret = None


class RotateManagementKey(YubiKeyMessage, Command):
    """Draw another one; the old one is of no use any more."""

    algorithm: ManagementKeyAlgorithm | None = Field(default=None, description="default: AES-192, 3DES before 5.4.2")
    held_by: KeyHolder = KeyHolder.SERVICE


class SetRetries(YubiKeyMessage, Command):
    """How often PIN and PUK may be got wrong. The device puts both back to factory values; here they are set again."""

    pin_retries: Retries
    puk_retries: Retries


class UnblockPin(YubiKeyMessage, Command):
    """With the PUK that is held: another PIN, and all its tries again."""

    sealed_pin: SealedSecret = None


class AdoptSecrets(YubiKeyMessage, Command):
    """Take over what a device was set up with elsewhere. Each is tried once, and only where two tries are left."""

    sealed_pin: SealedSecret = None
    sealed_puk: SealedSecret = None
    sealed_management_key: SealedSecret = None


class ReleaseSecret(YubiKeyMessage, Command):
    """Give out what is held, sealed to whoever is to know it."""

    secret: DeviceSecret
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")


class _Reported(YubiKeyMessage, Event):
    simulated: bool = Field(description="true: the device is a virtual one")


class PinConfigured(_Reported):
    retries: int = Field(description="how often it may be got wrong from now on")


class PukConfigured(_Reported):
    policy: PukPolicy


class ManagementKeyRotated(_Reported):
    algorithm: ManagementKeyAlgorithm
    held_by: KeyHolder


class RetriesSet(_Reported):
    pin_retries: Retries
    puk_retries: Retries


class YubiKeyUnlocked(_Reported):
    retries: int


class SecretsAdopted(_Reported):
    adopted: tuple[DeviceSecret, ...]


class SecretReleased(_Reported):
    secret: DeviceSecret
    sealed_secret: Base64 = Field(description="text in UTF-8; of a management key, its hexadecimal digits")
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
