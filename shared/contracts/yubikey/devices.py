"""Commands and events about a YubiKey as a whole: detection, provisioning, sealing, reset."""

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
    """Handling of the PUK: escrowed by the service, or blocked, so that a forgotten PIN needs a reset."""

    ESCROW = "escrow"
    BLOCK = "block"


class KeyHolder(StrEnum):
    """Holder of the management key: the service, sealed; or the device, readable with its PIN."""

    SERVICE = "service"
    DEVICE = "device"


class ManagementKeyAlgorithm(StrEnum):
    TDES = "3des"
    AES_128 = "aes-128"
    AES_192 = "aes-192"
    AES_256 = "aes-256"


class SlotPlan(Value):
    """Planned content of a slot for a role, for one firmware version."""

    slot: Slot
    algorithm: Algorithm
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    fallback: bool = Field(description="true: the firmware lacks what the role prefers, and this replaces it")


class SlotDescription(Value):
    slot: Slot
    algorithm: Text
    generated: bool = Field(description="false: it was imported")
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    fingerprint_sha256: Fingerprint = Field(description="of the public key's SubjectPublicKeyInfo")
    certificate_fingerprint_sha256: Fingerprint | None = None


class _DeviceCommandBase(YubiKeyMessage, Command):
    pass


class _DeviceReport(YubiKeyMessage, Event):
    simulated: bool = Field(description="true: the device is a virtual one")


class DetectYubiKey(_DeviceCommandBase):
    """Report the model, firmware and content of the device."""


class SealYubiKey(_DeviceCommandBase):
    """Block all changes of the device except compensation, until `unseal`."""


class ResetYubiKey(_DeviceCommandBase):
    """Reset the PIV application to factory state: keys, certificates, PIN, PUK and management key are deleted.

    A lost device that was found can be used again.
    """


class PlanSlots(_DeviceCommandBase):
    """Report the slots of a role for the firmware of this device."""

    role: RoleName


class ProvisionYubiKey(_DeviceCommandBase):
    """Set retries, PIN, PUK, CHUID, CCC and management key for a role. Idempotent: it does only what is missing."""

    role: RoleName


class YubiKeyDetected(_DeviceReport):
    firmware: Text
    form_factor: Text
    fips: bool
    applications: tuple[Text, ...] = Field(description="enabled over USB")
    pin_retries: int
    puk_retries: int | None = Field(description="none: firmware before 5.3 does not report it")
    default_pin: bool | None
    default_puk: bool | None
    default_management_key: bool | None
    management_key_algorithm: ManagementKeyAlgorithm
    slots: tuple[SlotDescription, ...]
    config_sha256: Fingerprint = Field(description="of the content: keys, policies, certificates")
    recipient_public_key: Base64 = Field(description="X25519, raw: recipient key for secrets of this device")


class YubiKeySealed(_DeviceReport):
    config_sha256: Fingerprint
    slots: tuple[SlotDescription, ...]


class YubiKeyReset(_DeviceReport):
    pass


class SlotsPlanned(_DeviceReport):
    role: RoleName
    firmware: Text
    slots: tuple[SlotPlan, ...]


class YubiKeyProvisioned(_DeviceReport):
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
