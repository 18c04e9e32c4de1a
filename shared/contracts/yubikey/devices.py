"""What can be done with a YubiKey as a whole: what it is, what it is made ready for, what is taken off it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.contracts.base import Base64, Command, Event, Fingerprint, Text
from shared.contracts.key.value_types import Algorithm, Value
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy, YubiKeyMessage

RoleName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$"), Field(description="a role of the service's role file")
]
Retries = Annotated[int, Field(ge=1, le=255)]


class PukPolicy(StrEnum):
    """What becomes of the PUK: kept here, sealed; or made useless, so that only a reset helps who forgot the PIN."""

    ESCROW = "escrow"
    BLOCK = "block"


class KeyHolder(StrEnum):
    """Who keeps the management key: this service, sealed; or the device itself, readable with its PIN."""

    SERVICE = "service"
    DEVICE = "device"


class ManagementKeyAlgorithm(StrEnum):
    TDES = "3des"
    AES_128 = "aes-128"
    AES_192 = "aes-192"
    AES_256 = "aes-256"


class SlotPlan(Value):
    """What a role has in a slot, on the firmware that it was planned for."""

    slot: Slot
    algorithm: Algorithm
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    fallback: bool = Field(description="whether the firmware cannot do what the role wants, and gets this instead")


class SlotDescription(Value):
    slot: Slot
    algorithm: Text
    generated: bool = Field(description="false: it was imported")
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    fingerprint_sha256: Fingerprint = Field(description="of the public key's SubjectPublicKeyInfo")
    certificate_fingerprint_sha256: Fingerprint | None = None


class _Asked(YubiKeyMessage, Command):
    pass


class _Told(YubiKeyMessage, Event):
    pass


class _Reported(YubiKeyMessage, Event):
    simulated: bool = Field(description="true: the device is a virtual one")


class DetectYubiKey(_Asked):
    """Say what the device is and what is on it."""


class SealYubiKey(_Asked):
    """Let nothing on it be changed any more, but by what undoes, until it is unsealed."""


class ResetYubiKey(_Asked):
    """Back to factory state: keys, certificates, PIN, PUK and management key are gone. A lost one that was found is
    in use again."""


class PlanSlots(_Asked):
    """Say what a role has in which slot, on this device's firmware."""

    role: RoleName


class ProvisionYubiKey(_Asked):
    """Make it ready for a role: tries, PIN, PUK, CHUID, CCC, management key. Asked again, it does what is missing."""

    role: RoleName


class YubiKeyDetected(_Reported):
    firmware: Text
    form_factor: Text
    fips: bool
    applications: tuple[Text, ...] = Field(description="that are switched on over USB")
    pin_retries: int
    puk_retries: int | None = Field(description="none: the firmware (before 5.3) does not tell")
    default_pin: bool | None
    default_puk: bool | None
    default_management_key: bool | None
    management_key_algorithm: ManagementKeyAlgorithm
    slots: tuple[SlotDescription, ...]
    config_sha256: Fingerprint = Field(description="of what is on it: keys, policies, certificates")
    recipient_public_key: Base64 = Field(description="X25519, raw: what secrets for this device are sealed to")


class YubiKeySealed(_Reported):
    config_sha256: Fingerprint
    slots: tuple[SlotDescription, ...]


class YubiKeyReset(_Reported):
    pass


class SlotsPlanned(_Reported):
    role: RoleName
    firmware: Text
    slots: tuple[SlotPlan, ...]


class YubiKeyProvisioned(_Reported):
    role: RoleName
    firmware: Text
    slots: tuple[SlotPlan, ...]
    pin_retries: Retries
    puk_retries: Retries
    puk: PukPolicy
    management_key_algorithm: ManagementKeyAlgorithm
    management_key_held_by: KeyHolder


DeviceCommand = DetectYubiKey | SealYubiKey | ResetYubiKey | PlanSlots | ProvisionYubiKey
DeviceEvent = YubiKeyDetected | YubiKeySealed | YubiKeyReset | SlotsPlanned | YubiKeyProvisioned
