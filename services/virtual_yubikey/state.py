"""What a device keeps without power: immutable values, and the JSON that is sealed on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeVar

from services.virtual_yubikey.iso7816 import tlv
from services.virtual_yubikey.piv_keys import PrivateKey, from_pkcs8, to_pkcs8

Firmware = tuple[int, int, int]
T = TypeVar("T")

FORM_FACTOR = 0x01  # "USB-A keychain" of Yubico's list: the most ordinary one
PIN, PUK = 0x80, 0x81
ATTESTATION_SLOT, ATTESTATION_OBJECT = 0xF9, 0x5FFF01
NEVER = 1  # of a PIN or touch policy
CERTIFICATE, CERTIFICATE_INFO, ERROR_DETECTION = 0x70, 0x71, 0xFE

TDES, AES_128, AES_192, AES_256 = 0x03, 0x08, 0x0A, 0x0C
DEFAULT_MANAGEMENT_KEY = bytes(range(1, 9)) * 3
DEFAULT_VALUES = {PIN: b"123456\xff\xff", PUK: b"12345678"}
DEFAULT_TRIES = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """The PIN or the PUK, padded to eight bytes, and how often it may be got wrong."""

    value: bytes = field(repr=False)
    tries: int
    remaining: int


@dataclass(frozen=True, slots=True)
class ManagementKey:
    """The symmetric key that administers the device (9B)."""

    algorithm: int
    value: bytes = field(repr=False)
    touch: bool = False


class Origin(IntEnum):
    """Where a private key came from; only the first kind is attested."""

    GENERATED = 1
    IMPORTED = 2


@dataclass(frozen=True, slots=True)
class SlotKey:
    """A private key in its slot, with where it came from and what its use asks for."""

    private_key: PrivateKey = field(repr=False)
    origin: Origin
    pin_policy: int
    touch_policy: int


@dataclass(frozen=True, slots=True)
class Device:
    """All a device keeps."""

    serial: int
    firmware: Firmware
    references: Mapping[int, Reference]
    management_key: ManagementKey
    keys: Mapping[int, SlotKey]
    objects: Mapping[int, bytes] = field(repr=False)

    def with_reference(self, reference: int, value: Reference) -> "Device":
        """Change the PIN or the PUK."""
        return replace(self, references={**self.references, reference: value})

    def with_key(self, slot: int, key: SlotKey | None) -> "Device":
        """Put a key into a slot, or empty it."""
        return replace(self, keys=_put(self.keys, slot, key))

    def with_object(self, identifier: int, content: bytes | None) -> "Device":
        """Put a data object, or remove it."""
        return replace(self, objects=_put(self.objects, identifier, content))

    def reset(self) -> "Device":
        """Go back to factory state; the attestation key and certificate stay, as Yubico says."""
        return Device(
            serial=self.serial,
            firmware=self.firmware,
            references=default_references(),
            management_key=_default_management_key(self.firmware),
            keys=_only(self.keys, ATTESTATION_SLOT),
            objects=_only(self.objects, ATTESTATION_OBJECT),
        )


def _put(mapping: Mapping[int, T], name: int, value: T | None) -> dict[int, T]:
    rest = {other: kept for other, kept in mapping.items() if other != name}
    return rest if value is None else {**rest, name: value}


def _only(mapping: Mapping[int, T], name: int) -> dict[int, T]:
    return {other: kept for other, kept in mapping.items() if other == name}


def manufacture(serial: int, firmware: Firmware, attestation_key: PrivateKey, certificate: bytes) -> Device:
    """Make a device in factory state, with the attestation key it is born with."""
    return Device(
        serial=serial,
        firmware=firmware,
        references=default_references(),
        management_key=_default_management_key(firmware),
        keys={ATTESTATION_SLOT: SlotKey(attestation_key, Origin.IMPORTED, NEVER, NEVER)},
        objects={ATTESTATION_OBJECT: certificate_object(certificate)},
    )


def certificate_object(certificate: bytes) -> bytes:
    """Wrap a certificate as the content of a PIV object (SP 800-73-4 part 1, appendix A)."""
    return tlv(CERTIFICATE, certificate) + tlv(CERTIFICATE_INFO, b"\0") + tlv(ERROR_DETECTION)


def default_references(pin_tries: int = DEFAULT_TRIES, puk_tries: int = DEFAULT_TRIES) -> dict[int, Reference]:
    """Make the PIN and the PUK every device is sold with."""
    tries = {PIN: pin_tries, PUK: puk_tries}
    return {name: Reference(value, tries[name], tries[name]) for name, value in DEFAULT_VALUES.items()}


def _default_management_key(firmware: Firmware) -> ManagementKey:
    # The same 24 bytes became an AES-192 key with firmware 5.7 (Yubico, PIV changes in 5.7).
    return ManagementKey(AES_192 if firmware >= (5, 7, 0) else TDES, DEFAULT_MANAGEMENT_KEY)


def to_json(device: Device) -> bytes:
    """Write a device, private keys included, to be sealed at once."""
    return json.dumps(
        {
            "serial": device.serial,
            "firmware": device.firmware,
            "references": {
                name: [reference.value.hex(), reference.tries, reference.remaining]
                for name, reference in device.references.items()
            },
            "management_key": [
                device.management_key.algorithm,
                device.management_key.value.hex(),
                device.management_key.touch,
            ],
            "keys": {
                slot: [
                    to_pkcs8(key.private_key).hex(),
                    key.origin,
                    key.pin_policy,
                    key.touch_policy,
                ]
                for slot, key in device.keys.items()
            },
            "objects": {name: content.hex() for name, content in device.objects.items()},
        }
    ).encode()


def from_json(content: bytes) -> Device:
    """Read a device that was written by *to_json*."""
    kept: dict[str, Any] = json.loads(content)
    major, minor, patch = kept["firmware"]
    algorithm, management_key, touch_required = kept["management_key"]
    return Device(
        serial=kept["serial"],
        firmware=(major, minor, patch),
        references={
            int(name): Reference(bytes.fromhex(value), tries, remaining)
            for name, (value, tries, remaining) in kept["references"].items()
        },
        management_key=ManagementKey(algorithm, bytes.fromhex(management_key), touch_required),
        keys={
            int(slot): SlotKey(from_pkcs8(bytes.fromhex(pkcs8)), Origin(origin), pin, touch)
            for slot, (pkcs8, origin, pin, touch) in kept["keys"].items()
        },
        objects={int(name): bytes.fromhex(value) for name, value in kept["objects"].items()},
    )
