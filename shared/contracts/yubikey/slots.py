"""What the YubiKey service can be asked for, and what it reports. No message ever holds a PIN or management key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from shared.contracts.base import Base64, Command, DeviceSerial, Event, Fingerprint, Id, Message, Pem, Text
from shared.contracts.key.value_types import Algorithm, Provenance


class Slot(StrEnum):
    """SP 800-73-4, part 1, table 4b: the four primary slots and the twenty retired key management slots."""

    AUTHENTICATION = "9a"
    SIGNATURE = "9c"
    KEY_MANAGEMENT = "9d"
    CARD_AUTHENTICATION = "9e"
    RETIRED_1 = "82"
    RETIRED_2 = "83"
    RETIRED_3 = "84"
    RETIRED_4 = "85"
    RETIRED_5 = "86"
    RETIRED_6 = "87"
    RETIRED_7 = "88"
    RETIRED_8 = "89"
    RETIRED_9 = "8a"
    RETIRED_10 = "8b"
    RETIRED_11 = "8c"
    RETIRED_12 = "8d"
    RETIRED_13 = "8e"
    RETIRED_14 = "8f"
    RETIRED_15 = "90"
    RETIRED_16 = "91"
    RETIRED_17 = "92"
    RETIRED_18 = "93"
    RETIRED_19 = "94"
    RETIRED_20 = "95"


def _lower(value: object) -> object:
    return value.lower() if type(value) is str else value


AnySlot = Annotated[Slot, BeforeValidator(_lower)]


class PinPolicy(StrEnum):
    DEFAULT = "default"
    NEVER = "never"
    ONCE = "once"
    ALWAYS = "always"


class TouchPolicy(StrEnum):
    DEFAULT = "default"
    NEVER = "never"
    ALWAYS = "always"
    CACHED = "cached"


class YubiKeyMessage(Message):
    aggregate_type: ClassVar[str] = "yubikey"
    identified_by: ClassVar[str] = "serial"

    serial: DeviceSerial


class _OfSlot(YubiKeyMessage):
    slot: AnySlot


class _Reported(_OfSlot):
    simulated: bool = Field(description="true: the device is a virtual one")


class GenerateSlotKey(_OfSlot, Command):
    algorithm: Algorithm
    pin_policy: PinPolicy = PinPolicy.DEFAULT
    touch_policy: TouchPolicy = TouchPolicy.DEFAULT
    key_id: Id | None = Field(default=None, description="default: derived from the command's id")
    replace: bool = Field(default=False, description="whether a key or certificate that is there may be overwritten")


class PrepareImport(_OfSlot, Command):
    """Ask for the public key that a private key for this device must be sealed to."""


class ImportSlotKey(_OfSlot, Command):
    key_id: Id
    algorithm: Algorithm
    sealed_key: Base64 = Field(max_length=8192)
    pin_policy: PinPolicy = PinPolicy.DEFAULT
    touch_policy: TouchPolicy = TouchPolicy.DEFAULT
    replace: bool = False


class AttestSlot(_OfSlot, Command):
    """Let the device prove that the slot's key was made on it, and check the proof up to a pinned root."""


class ImportSlotCertificate(_OfSlot, Command):
    certificate_pem: Pem


class VerifySlot(_OfSlot, Command):
    """Read key and certificate back, and compare them with one another and with what is expected."""

    fingerprint_sha256: Fingerprint | None = Field(default=None, description="of the certificate that must be there")


class ClearSlot(_OfSlot, Command):
    """Delete the slot's key and certificate."""

    key_id: Id | None = Field(
        default=None, description="only what this key's commands put there, now or later: how a saga undoes"
    )


class SlotPopulated(_Reported, Event):
    key_id: Id
    algorithm: Algorithm
    provenance: Provenance
    public_key_pem: Pem
    fingerprint_sha256: Fingerprint = Field(description="of the SubjectPublicKeyInfo's DER")
    attestation: Pem | None = Field(description="the slot's attestation certificate and the device's; none if imported")
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replaced: bool = Field(description="whether something was overwritten; it cannot be brought back")


class ImportPrepared(_Reported, Event):
    recipient_public_key: Base64 = Field(description="X25519, raw")


class SlotAttested(_Reported, Event):
    public_key_pem: Pem
    firmware: Text
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    root_fingerprint_sha256: Fingerprint


class SlotAttestationFailed(_Reported, Event):
    reason: Text


class SlotCertificateImported(_Reported, Event):
    fingerprint_sha256: Fingerprint


class SlotVerified(_Reported, Event):
    public_key_pem: Pem
    certificate_pem: Pem
    fingerprint_sha256: Fingerprint


class SlotCleared(_Reported, Event):
    key_id: Id | None
    cleared: bool = Field(description="false: there was nothing (of that key) to clear")
    overwrote: bool = Field(
        default=False, description="whether that key had (or may have) overwritten something; it cannot be brought back"
    )


YubiKeyCommand = (
    GenerateSlotKey | PrepareImport | ImportSlotKey | AttestSlot | ImportSlotCertificate | VerifySlot | ClearSlot
)
YubiKeyEvent = (
    SlotPopulated
    | ImportPrepared
    | SlotAttested
    | SlotAttestationFailed
    | SlotCertificateImported
    | SlotVerified
    | SlotCleared
)
