"""Inventory of a device: model, firmware, configuration and the content of its slots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

from yubikit.core import NotSupportedError
from yubikit.management import CAPABILITY, ManagementSession
from yubikit.piv import KEY_TYPE, OBJECT_ID, PivSession

from services.yubikey.piv.authentication import pin_is_default, puk_is_default
from services.yubikey.piv.pins import ALGORITHMS
from services.yubikey.piv.session import KEY_TYPES, OpenDevice
from services.yubikey.trust import fingerprint
from shared.contracts.yubikey.devices import (
    SlotDescription,
    YubiKeyDetected,
    YubiKeySealed,
)
from shared.contracts.yubikey.slots import Slot

_ALGORITHMS = {kind: str(algorithm) for algorithm, kind in KEY_TYPES.items()}
_FIRMWARE_WITH_METADATA = (5, 3, 0)


def detect(device: OpenDevice, recipient_public_key: bytes) -> YubiKeyDetected:
    """Reports the device. *recipient_public_key*: the key that clients seal secrets for this service to."""
    connection = device.session.protocol.connection
    about = ManagementSession(connection).read_device_info()  # selects another application: PIV is selected again below
    session = PivSession(connection)
    slots = tuple(describe_slots(device))
    has_metadata = session.version >= _FIRMWARE_WITH_METADATA
    enabled = about.config.enabled_capabilities.get(connection.transport, CAPABILITY(0))
    return YubiKeyDetected(
        serial=str(device.serial),
        simulated=device.simulated,
        firmware=str(session.version),
        form_factor=str(about.form_factor),
        fips=about.is_fips,
        applications=tuple(str(each.name) for each in CAPABILITY if each in enabled),
        pin_retries=session.get_pin_attempts(),
        puk_retries=session.get_puk_metadata().attempts_remaining if has_metadata else None,
        default_pin=pin_is_default(device),
        default_puk=puk_is_default(device),
        default_management_key=session.get_management_key_metadata().default_value if has_metadata else None,
        management_key_algorithm=ALGORITHMS[session.management_key_type],
        slots=slots,
        config_sha256=digest(slots),
        recipient_public_key=recipient_public_key,
    )


def seal(device: OpenDevice) -> YubiKeySealed:
    """Reports the slots and their digest, which a later change of a slot changes."""
    slots = tuple(describe_slots(device))
    serial, simulated = str(device.serial), device.simulated
    return YubiKeySealed(serial=serial, simulated=simulated, config_sha256=digest(slots), slots=slots)


def describe_slots(device: OpenDevice) -> Iterator[SlotDescription]:
    """Describes every slot with a key. Raises DeviceError for firmware before 5.3, which has no metadata."""
    for slot in Slot:
        found = device.read(slot)
        if (key := found.key) is None:
            continue
        kind = key.metadata.key_type
        yield SlotDescription(
            slot=slot,
            algorithm=_ALGORITHMS.get(kind, KEY_TYPE(kind).name),
            generated=key.metadata.generated,
            pin_policy=key.pin_policy,
            touch_policy=key.touch_policy,
            fingerprint_sha256=key.fingerprint,
            certificate_fingerprint_sha256=fingerprint(found.certificate) if found.certificate is not None else None,
        )


def digest(slots: tuple[SlotDescription, ...]) -> str:
    """SHA-256 of the slots' descriptions as JSON, with sorted member names."""
    described = [slot.model_dump(mode="json") for slot in slots]
    return sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def has_object(device: OpenDevice, name: OBJECT_ID) -> bool:
    """True if the device has this data object, and it is not empty."""
    try:
        return bool(device.session.get_object(name))
    except NotSupportedError:
        return False
    except Exception as error:
        if getattr(error, "sw", None) is None:
            raise
        return False
