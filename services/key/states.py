"""What a key can be, from Unborn to Destroyed. Snapshots are these as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a key from its first event; only its owner changes."""

    algorithm: Algorithm
    purpose: Purpose
    public_key_pem: str
    exportable: bool = False
    owner: str | None = None
    owner_kind: OwnerKind | None = None
    expires_at: datetime | None = None
    approvals: int = 0
    provenance: Provenance = Provenance.SOFTWARE
    organization: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Prepared:
    """There is no key yet, but a public key to which it can be sealed; base64, as in the event."""

    recipient_public_key: str
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True, slots=True)
class Active:
    """*exported*: it lives on elsewhere too, so the copy here may go."""

    traits: Traits
    exported: bool = False
    kind: Literal["active"] = "active"


@dataclass(frozen=True, slots=True)
class Rotated:
    """Another key takes its place; until that is completed both are in use."""

    traits: Traits
    successor_id: str
    overlap_until: datetime
    exported: bool = False
    kind: Literal["rotated"] = "rotated"


@dataclass(frozen=True, slots=True)
class Escrowed:
    """Kept for recovery only; it was exported before, or it would not be here."""

    traits: Traits
    kind: Literal["escrowed"] = "escrowed"


class End(StrEnum):
    EXPIRED = "expired"
    ROTATION_COMPLETED = "rotation-completed"
    REVOKED = "revoked"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Over:
    """Its private half is still here and does nothing any more."""

    traits: Traits
    end: End
    kind: Literal["over"] = "over"


@dataclass(frozen=True, slots=True)
class Voided:
    """No key ever had this id, and none ever will."""

    kind: Literal["voided"] = "voided"


@dataclass(frozen=True, slots=True)
class Destroyed:
    kind: Literal["destroyed"] = "destroyed"


Key = Unborn | Prepared | Active | Rotated | Escrowed | Over | Voided | Destroyed
InUse = Active | Rotated
Existing = Active | Rotated | Escrowed | Over
Ended = Over | Voided | Destroyed
