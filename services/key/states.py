"""States of a key, from Unborn to Destroyed. Their JSON is the snapshot: renaming a field needs a new state version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Attributes from the first event of a key; only the owner can change."""

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
    """No key yet; the recipient public key for an import or derivation exists (base64, as in the event)."""

    recipient_public_key: str
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True, slots=True)
class Active:
    """In use. *exported*: a copy exists elsewhere, so that this one may be destroyed."""

    traits: Traits
    exported: bool = False
    kind: Literal["active"] = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """Rotation has begun; until it is completed, the key and its successor are both in use."""

    traits: Traits
    successor_id: str
    overlap_until: datetime
    exported: bool = False
    kind: Literal["rotated"] = "rotated"


@dataclass(frozen=True, slots=True)
class Escrowed:
    """Kept for recovery only, after an export."""

    traits: Traits
    kind: Literal["escrowed"] = "escrowed"


class DeactivationReason(StrEnum):
    EXPIRED = "expired"
    ROTATION_COMPLETED = "rotation-completed"
    REVOKED = "revoked"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Deactivated:
    """No longer usable; the private key still exists (SP 800-57, deactivated). Stored as `over`."""

    traits: Traits
    end: DeactivationReason
    kind: Literal["over"] = "over"


@dataclass(frozen=True, slots=True)
class Voided:
    """The id was revoked before a key existed and can never be used."""

    kind: Literal["voided"] = "voided"


@dataclass(frozen=True, slots=True)
class Destroyed:
    kind: Literal["destroyed"] = "destroyed"


Key = Unborn | Prepared | Active | Rotated | Escrowed | Deactivated | Voided | Destroyed
InUse = Active | Rotated
Existing = Active | Rotated | Escrowed | Deactivated
Terminal = Deactivated | Voided | Destroyed
