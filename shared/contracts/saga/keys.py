"""The words of the sagas about keys that people begin."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.contracts.base import Id, Text
from shared.contracts.key.commands import Approvals
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.saga.protocol import CompletionAnnouncement, StartSaga


class StartKeyRotation(StartSaga):
    """Another key in the place of one; certificates of the old one are issued anew, and revoked after the overlap."""

    key_id: Id = Field(description="of the key that gives way")
    algorithm: Algorithm
    purpose: Purpose = Field(description="the same as of the key that gives way")
    overlap_days: int = Field(default=0, ge=0, le=3650, description="for so long both are good")
    certificate_ids: Annotated[tuple[Id, ...], Field(max_length=64)] = ()
    exportable: bool = False
    owner: Text | None = None
    approvals: Approvals = Field(default=0, description="that each signature of the new key demands")
    certificate_approvals: Approvals = Field(default=0, description="as many as the issuers' keys demand")


class KeyRotationSagaCompleted(CompletionAnnouncement):
    key_id: Id
    successor_id: Id
    certificate_ids: tuple[Id, ...]
