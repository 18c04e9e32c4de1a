"""State of a YubiKey, folded from its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from shared.contracts.yubikey.slots import Slot

MAX_VOIDED_KEY_IDS = 256
"""Voided key ids that are remembered for a device: far more than commands about it are ever in flight."""


class DeviceStatus(StrEnum):
    """Position of a device in its lifecycle."""

    IN_USE = "in-use"
    LOST = "lost"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Registration, assignment and status of a device.

    *label*: None, the device is not registered. *sealed_sha256*: digest of the slots when the device was sealed.
    *role*: the role of its last provisioning. *label_request_id*, *person_request_id*: the requests that set these.
    *voided_request_ids*: the newest requests that were compensated before they arrived.
    """

    label: str | None = None
    person_id: str | None = None
    status: DeviceStatus = DeviceStatus.IN_USE
    sealed_sha256: str | None = None
    role: str | None = None
    label_request_id: str | None = None
    person_request_id: str | None = None
    voided_request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """The agent whose machine a device is plugged into."""

    agent: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class SlotContent:
    """Key and certificate of a slot, as far as events mention them."""

    key_id: str
    public_key_pem: str
    certificate_fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """State of the YubiKey aggregate.

    *voided_key_ids*: keys that were cleared; a late command must not put them into a slot. *presence*: None, the
    device is not plugged in anywhere, or was never seen.
    """

    slots: dict[Slot, SlotContent] = field(default_factory=dict)
    voided_key_ids: tuple[str, ...] = ()
    presence: Presence | None = None
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    kind: Literal["device"] = "device"
