"""Start command and completion event of the key rotation saga."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.contracts.base import Id, Text
from shared.contracts.key.commands import Approvals
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.saga.protocol import Completed, StartSaga


class StartKeyRotation(StartSaga):
    """Generate a successor of a key, reissue its certificates, and revoke the old ones after the overlap."""

    key_id: Id = Field(description="of the old key")
    algorithm: Algorithm
    purpose: Purpose = Field(description="the same as of the old key")
    overlap_days: int = Field(default=0, ge=0, le=3650, description="days during which both keys are valid")
    certificate_ids: Annotated[tuple[Id, ...], Field(max_length=64)] = ()
    exportable: bool = False
    owner: Text | None = None
    approvals: Approvals = Field(default=0, description="number that each signature of the new key requires")
    certificate_approvals: Approvals = Field(default=0, description="number that the issuers' keys require")


class KeyRotationSagaCompleted(Completed):
    key_id: Id
    successor_id: Id
    certificate_ids: tuple[Id, ...]
