"""Inputs of the saga state machine: everything that can advance a saga."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from shared.contracts.base import Event
from shared.contracts.saga.protocol import CancelSaga, PauseSaga, ResolveSaga, ResumeSaga, RetrySaga, WithdrawSaga

OperatorCommand: TypeAlias = CancelSaga | WithdrawSaga | PauseSaga | ResumeSaga | RetrySaga | ResolveSaga


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReceived:
    """An event that the command *command_id* caused."""

    event_id: UUID
    command_id: UUID
    event: Event
    at: datetime


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer fired, or the watchdog found that one should have; *at* is now."""

    timer_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class OperatorCommandReceived:
    """An operator command arrived."""

    command_id: UUID
    command: OperatorCommand
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """A person sent a signal."""

    command_id: UUID
    signal: str
    actor: str
    message_sha256: str | None
    comment: str | None
    at: datetime


Input: TypeAlias = EventReceived | TimerFired | OperatorCommandReceived | SignalReceived
