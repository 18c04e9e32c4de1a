"""What the log says of a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from services.yubikey.lifecycle import Life
from services.yubikey.presence import Presence
from shared.contracts.yubikey import Slot

VOIDED = 256
"""How many voided key ids a device remembers: far more than there can be commands about it under way."""


@dataclass(frozen=True, slots=True)
class SlotContent:
    key_id: str
    public_key_pem: str
    certificate_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """*voided*: key ids that were cleared, which a command that comes late must not put into a slot any more.

    *present*: where it is plugged in; none: nowhere, or nobody ever saw it.
    """

    slots: dict[Slot, SlotContent] = field(default_factory=dict)
    voided: tuple[str, ...] = ()
    present: Presence | None = None
    life: Life = field(default_factory=Life)
    kind: Literal["device"] = "device"
