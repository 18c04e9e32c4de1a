"""What the log says of a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from shared.contracts.yubikey.slots import Slot

VOIDED = 256
"""How many voided key ids a device remembers: far more than there can be commands about it under way."""


class Fate(StrEnum):
    IN_USE = "in-use"
    LOST = "lost"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Life:
    """*label*: none, nobody registered it. *sealed*: the digest of what was on it when it was sealed. *role*: what it
    was last provisioned for. *label_by*, *person_by*: the requests that these came by. *void*: requests that were taken
    back before they arrived, the newest of them."""

    label: str | None = None
    person_id: str | None = None
    fate: Fate = Fate.IN_USE
    sealed: str | None = None
    role: str | None = None
    label_by: str | None = None
    person_by: str | None = None
    void: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    agent: str
    simulated: bool


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
