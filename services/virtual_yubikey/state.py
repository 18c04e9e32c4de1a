"""Persistent state of a device: immutable values, and their JSON in the sealed file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeVar

from services.virtual_yubikey.iso7816 import tlv
from services.virtual_yubikey.piv_keys import PrivateKey, from_pkcs8, to_pkcs8

Firmware = tuple[int, int, int]
T = TypeVar("T")

FORM_FACTOR = 0x01  # "USB-A keychain" in Yubico's list
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
    """The PIN or PUK, padded to eight bytes, with its retry counter."""

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
    """Origin of a private key. Only generated keys are attested."""

    GENERATED = 1
    IMPORTED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotKey:
    """A private key in a slot, with its origin, PIN policy and touch policy."""

    private_key: PrivateKey = field(repr=False)
    origin: Origin
    pin_policy: int
    touch_policy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The persistent state of a device."""

    serial: int
    firmware: Firmware
    references: Mapping[int, Reference]
    management_key: ManagementKey
    keys: Mapping[int, SlotKey]
    objects: Mapping[int, bytes] = field(repr=False)

    def with_reference(self, reference: int, value: Reference) -> "Device":
        """Returns a device with another PIN or PUK."""
        return replace(self, references={**self.references, reference: value})

    def with_key(self, slot: int, key: SlotKey | None) -> "Device":
        """Returns a device with this key in the slot; None: with an empty slot."""
        return replace(self, keys=_put(self.keys, slot, key))

    def with_object(self, identifier: int, content: bytes | None) -> "Device":
        """Returns a device with this data object; None: without it."""
        return replace(self, objects=_put(self.objects, identifier, content))

    def reset(self) -> "Device":
        """Returns the device in factory state. Attestation key and certificate stay, as on a YubiKey."""
        return Device(
            serial=self.serial,
            firmware=self.firmware,
            references=default_references(),
            management_key=_default_management_key(self.firmware),
            keys=_only(self.keys, ATTESTATION_SLOT),
            objects=_only(self.objects, ATTESTATION_OBJECT),
        )


def _put(mapping: Mapping[int, T], name: int, value: T | None) -> dict[int, T]:
    rest = {other: content for other, content in mapping.items() if other != name}
    return rest if value is None else {**rest, name: value}


def _only(mapping: Mapping[int, T], name: int) -> dict[int, T]:
    return {other: content for other, content in mapping.items() if other == name}


def manufacture(serial: int, firmware: Firmware, attestation_key: PrivateKey, certificate: bytes) -> Device:
    """Creates a device in factory state, with its attestation key and certificate (F9)."""
    return Device(
        serial=serial,
        firmware=firmware,
        references=default_references(),
        management_key=_default_management_key(firmware),
        keys={
            ATTESTATION_SLOT: SlotKey(
                private_key=attestation_key, origin=Origin.IMPORTED, pin_policy=NEVER, touch_policy=NEVER
            )
        },
        objects={ATTESTATION_OBJECT: certificate_object(certificate)},
    )


def certificate_object(certificate: bytes) -> bytes:
    """Wraps a certificate as the content of a PIV object (SP 800-73-4 part 1, appendix A)."""
    return tlv(CERTIFICATE, certificate) + tlv(CERTIFICATE_INFO, b"\0") + tlv(ERROR_DETECTION)


def default_references(pin_tries: int = DEFAULT_TRIES, puk_tries: int = DEFAULT_TRIES) -> dict[int, Reference]:
    """The factory PIN and PUK, with these retry limits."""
    tries = {PIN: pin_tries, PUK: puk_tries}
    return {name: Reference(value, tries[name], tries[name]) for name, value in DEFAULT_VALUES.items()}


def _default_management_key(firmware: Firmware) -> ManagementKey:
    # The same 24 bytes became an AES-192 key with firmware 5.7 (Yubico, PIV changes in 5.7).
    return ManagementKey(AES_192 if firmware >= (5, 7, 0) else TDES, DEFAULT_MANAGEMENT_KEY)


def to_json(device: Device) -> bytes:
    """Serialises a device, private keys included. The caller seals it."""
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
    """Reads a device that `to_json` wrote."""
    stored: dict[str, Any] = json.loads(content)
    major, minor, patch = stored["firmware"]
    algorithm, management_key, touch_required = stored["management_key"]
    return Device(
        serial=stored["serial"],
        firmware=(major, minor, patch),
        references={
            int(name): Reference(bytes.fromhex(value), tries, remaining)
            for name, (value, tries, remaining) in stored["references"].items()
        },
        management_key=ManagementKey(algorithm, bytes.fromhex(management_key), touch_required),
        keys={
            int(slot): SlotKey(
                private_key=from_pkcs8(bytes.fromhex(pkcs8)), origin=Origin(origin), pin_policy=pin, touch_policy=touch
            )
            for slot, (pkcs8, origin, pin, touch) in stored["keys"].items()
        },
        objects={int(name): bytes.fromhex(value) for name, value in stored["objects"].items()},
    )
