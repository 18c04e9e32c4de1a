"""Commands and events about the PIV slots of a YubiKey. No message contains a PIN or management key in the clear."""

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


class _SlotMessage(YubiKeyMessage):
    slot: AnySlot


class _SlotReport(_SlotMessage):
    simulated: bool = Field(description="true: the device is a virtual one")


class GenerateSlotKey(_SlotMessage, Command):
    algorithm: Algorithm
    pin_policy: PinPolicy = PinPolicy.DEFAULT
    touch_policy: TouchPolicy = TouchPolicy.DEFAULT
    key_id: Id | None = Field(default=None, description="default: derived from the command's id")
    replace: bool = Field(default=False, description="true: an existing key or certificate may be overwritten")


class PrepareImport(_SlotMessage, Command):
    """Generate a one-time public key, to which a private key for this slot is sealed."""


class ImportSlotKey(_SlotMessage, Command):
    key_id: Id
    algorithm: Algorithm
    sealed_key: Base64 = Field(max_length=8192)
    pin_policy: PinPolicy = PinPolicy.DEFAULT
    touch_policy: TouchPolicy = TouchPolicy.DEFAULT
    replace: bool = False


class AttestSlot(_SlotMessage, Command):
    """Attest that the slot's key was generated on the device, and validate the attestation up to a pinned root."""


class ImportSlotCertificate(_SlotMessage, Command):
    certificate_pem: Pem


class VerifySlot(_SlotMessage, Command):
    """Read key and certificate back, and compare them with each other and with the expected fingerprint."""

    fingerprint_sha256: Fingerprint | None = Field(default=None, description="of the expected certificate")


class ClearSlot(_SlotMessage, Command):
    """Delete the slot's key and certificate."""

    key_id: Id | None = Field(
        default=None, description="clear only the content of this key's commands, now or later; compensation uses it"
    )


class SlotPopulated(_SlotReport, Event):
    key_id: Id
    algorithm: Algorithm
    provenance: Provenance
    public_key_pem: Pem
    fingerprint_sha256: Fingerprint = Field(description="of the SubjectPublicKeyInfo's DER")
    attestation: Pem | None = Field(description="attestation certificates of slot and device; none if imported")
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replaced: bool = Field(description="true: previous content was overwritten and is lost")


class ImportPrepared(_SlotReport, Event):
    recipient_public_key: Base64 = Field(description="X25519, raw")


class SlotAttested(_SlotReport, Event):
    public_key_pem: Pem
    firmware: Text
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    root_fingerprint_sha256: Fingerprint


class SlotAttestationFailed(_SlotReport, Event):
    reason: Text


class SlotCertificateImported(_SlotReport, Event):
    fingerprint_sha256: Fingerprint


class SlotVerified(_SlotReport, Event):
    public_key_pem: Pem
    certificate_pem: Pem
    fingerprint_sha256: Fingerprint


class SlotCleared(_SlotReport, Event):
    key_id: Id | None
    cleared: bool = Field(description="false: the slot had no content (of that key)")
    overwrote: bool = Field(
        default=False, description="true: that key had (or may have) overwritten content, which is lost"
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
