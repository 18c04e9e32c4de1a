"""Effects of the YubiKey aggregate and their results. Every effect is idempotent."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.devices import (
    DeviceCommand,
    DeviceEvent,
)
from shared.contracts.yubikey.secrets import SecretCommand, SecretEvent
from shared.contracts.yubikey.slot_operations import SlotOperationCommand, SlotOperationEvent
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy


@dataclass(frozen=True, slots=True)
class _SlotEffect:
    serial: str
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class _FillEffect(_SlotEffect):
    operation_id: str
    key_id: str
    algorithm: Algorithm
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replace: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateInSlot(_FillEffect):
    """Generates a key pair on the device, once for each operation id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportKeyIntoSlot(_FillEffect):
    """Imports a private key that is sealed to the service's key."""

    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchSealingKey(_SlotEffect):
    """Returns the public key to seal a private key to, if the device is present."""


@dataclass(frozen=True, slots=True)
class Attest(_SlotEffect):
    """Has the device attest the slot's key, and verifies the attestation."""


@dataclass(frozen=True, slots=True)
class PutCertificate(_SlotEffect):
    """Writes a certificate into the slot whose key it certifies."""

    certificate_pem: str


@dataclass(frozen=True, slots=True)
class ReadSlot(_SlotEffect):
    """Reads public key and certificate of the slot."""

    expected_fingerprint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptySlot(_SlotEffect):
    """Deletes key and certificate of the slot.

    *key_id*: delete only this key. *public_key_pem*: the public key of *key_id* according to the log, if it is there.
    """

    operation_id: str
    key_id: str | None
    public_key_pem: str | None


@dataclass(frozen=True, slots=True)
class AtDevice:
    """Carries out a command on the device, once for each *operation_id*."""

    serial: str
    operation_id: str
    command: DeviceCommand | SecretCommand | SlotOperationCommand


SlotEffect = GenerateInSlot | ImportKeyIntoSlot | FetchSealingKey | Attest | PutCertificate | ReadSlot | EmptySlot
Effect = AtDevice | SlotEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFilled:
    """A key is in the slot. *replaced*: the slot was occupied before."""

    effect: GenerateInSlot | ImportKeyIntoSlot
    simulated: bool
    public_key_pem: str
    fingerprint_sha256: str
    attestation: str | None
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replaced: bool


@dataclass(frozen=True, slots=True)
class SealingKeyFetched:
    """The public key to seal an import to."""

    effect: FetchSealingKey
    simulated: bool
    recipient_public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """The attestation verifies up to a trusted root."""

    effect: Attest
    simulated: bool
    public_key_pem: str
    firmware: str
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    root_fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class NotAttested:
    """The device does not attest the key, or the attestation does not verify."""

    effect: Attest
    simulated: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CertificatePut:
    """The certificate was written and read back."""

    effect: PutCertificate
    simulated: bool
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate in a slot."""

    pem: str
    fingerprint_sha256: str
    public_key_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotContents:
    """Public key and certificate of a slot; None: there is none."""

    effect: ReadSlot
    simulated: bool
    public_key_pem: str | None
    certificate: StoredCertificate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEmptied:
    """The slot is empty, or has another key. *cleared*: a key or certificate was deleted. *overwrote*: the deleted key
    had overwritten another one.
    """

    effect: EmptySlot
    simulated: bool
    cleared: bool
    overwrote: bool = False


@dataclass(frozen=True, slots=True)
class EffectDone:
    """A command was carried out; *event* reports it."""

    event: DeviceEvent | SecretEvent | SlotOperationEvent


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """An effect was not performed: the device is absent or rejects it, or the request is invalid."""

    code: RejectionCode
    message: str
    retryable: bool = False


SlotOutcome = SlotFilled | SealingKeyFetched | Attested | NotAttested | CertificatePut | SlotContents | SlotEmptied
Outcome = SlotOutcome | EffectDone | EffectFailed
