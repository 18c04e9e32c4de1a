"""Simulation of one saga without NATS and clock, with simulated services and the real YubiKey decider.

A test delivers commands and events in any order and any number of times: the worst case of at-least-once delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from services.saga import store
from services.saga.core import machine
from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import (
    EventReceived,
    OperatorCommand,
    OperatorCommandReceived,
    SignalReceived,
    TimerFired,
)
from services.saga.core.replay import LoggedEvent
from services.saga.core.state import Origin, Saga
from services.yubikey.core import effects as devices
from services.yubikey.core.domain import YUBIKEY
from shared.contracts.base import Command, Event
from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.contracts.saga.protocol import CancelSaga, ResumeSaga, RetrySaga, StartSaga
from shared.contracts.yubikey.devices import (
    KeyHolder,
    ManagementKeyAlgorithm,
    ProvisionYubiKey,
    PukPolicy,
    ResetYubiKey,
    YubiKeyProvisioned,
    YubiKeyReset,
)
from shared.contracts.yubikey.slots import PinPolicy, TouchPolicy
from shared.decider import AlreadyDone, Context, Perform, Rejection
from shared.messages.ids import derive_id
from tests.support.toy_services import ISSUER_ID, ISSUER_KEY, PEM, SHA, Toys

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = UUID("01a1fbdc-0000-7000-8000-000000000001")
_PEM, _SHA = PEM, SHA


@dataclass(frozen=True)
class Sent:
    command_id: UUID
    command: Command
    label: str = ""


def _of_device(command: Any) -> Event:
    """Returns the outcomes of a device's effects without faults."""
    about = {"serial": command.serial, "simulated": True}
    match command:
        case ResetYubiKey():
            return YubiKeyReset(**about)
        case ProvisionYubiKey(role=role):
            return YubiKeyProvisioned(
                **about,
                role=role,
                firmware="5.7.4",
                slots=(),
                pin_retries=3,
                puk_retries=3,
                puk=PukPolicy.ESCROW,
                management_key_algorithm=ManagementKeyAlgorithm.AES_192,
                management_key_held_by=KeyHolder.SERVICE,
            )
    raise AssertionError(command)


def reply_fields(sent: Sent) -> dict[str, str]:
    """Returns the fields that a rejection, or an "already done", has about its command."""
    command = sent.command
    kind = type(command).__name__
    return {"command_id": str(sent.command_id), "command_type": kind, "aggregate_id": command.identity}


@dataclass
class World:
    """One saga among deciders. *broken*: command types that are always rejected."""

    definition: AnyDefinition
    saga: Saga[Any]
    broken: frozenset[str] = frozenset()
    now: datetime = NOON
    commands: list[Sent] = field(default_factory=list)
    events: list[EventReceived] = field(default_factory=list)
    announced: list[Event] = field(default_factory=list)
    toys: Toys = field(default_factory=Toys)
    answers: dict[UUID, EventReceived] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    stored: list[LoggedEvent] = field(default_factory=list)
    """Outcomes and announcements, in the order of the log."""
    approvers: tuple[str, ...] = ("ada", "bob")

    @classmethod
    def begin(cls, definition: AnyDefinition, request: StartSaga, broken: frozenset[str] = frozenset()) -> World:
        saga = machine.begin(definition, request, Origin(command_id=START, correlation_id=START, actor="tester"), NOON)
        world = cls(definition, saga, broken)
        world.log["key", ISSUER_ID].append(ISSUER_KEY)
        world.send()
        return world

    @property
    def log(self) -> dict[tuple[str, str], list[Event]]:
        return self.toys.log

    def send(self) -> None:
        """Sends the messages of the saga's state, as the coordinator does after saving, and again after a crash."""
        for each in self.saga.announcements:
            if each.event not in self.announced:
                self.announced.append(each.event)
                self.stored.append(LoggedEvent(event_id=each.event_id, cause=each.cause, event=each.event, at=self.now))
        for pending, command in machine.pending_commands(self.definition, self.saga):
            sent = Sent(pending.command_id, command, pending.label)
            if sent not in self.commands:
                self.commands.append(sent)

    def crash(self) -> None:
        """Restarts the coordinator from its saved state; pending commands are sent again."""
        self.saga = store.decode_entry(self.definition, from_json(store.encode_entry(self.saga)))
        self.send()

    def deliver(self, sent: Sent) -> None:
        """Delivers a command to its service, perhaps again."""
        if sent.command_id in self.answers:
            return
        event = self._answer(sent)
        received = EventReceived(
            event_id=derive_id(sent.command_id, type(event).__name__),
            command_id=sent.command_id,
            event=event,
            at=self.now,
        )
        self.answers[sent.command_id] = received
        self.stored.append(
            LoggedEvent(
                event_id=received.event_id, cause=received.command_id, event=event, at=received.at, step=sent.label
            )
        )
        self.events.append(received)

    def receive(self, message: EventReceived | TimerFired | OperatorCommandReceived | SignalReceived) -> None:
        """Delivers a message to the coordinator, possibly again."""
        self.saga = machine.advance(self.definition, self.saga, message)
        self.send()

    def pass_time(self) -> None:
        """Advances the clock to the next timer and fires it."""
        if self.saga.timer_at is not None:
            self.now = max(self.now, self.saga.timer_at) + timedelta(milliseconds=1)
            self.receive(TimerFired(derive_id(START, self.now.isoformat()), self.now))

    def cancel(self) -> None:
        self.operate(CancelSaga(saga_id=self.saga.saga_id, reason="enough"))

    def operate(self, command: OperatorCommand, number: int = 0) -> OperatorCommandReceived:
        """Sends an operator command; another *number* gives it another command id."""
        received = OperatorCommandReceived(derive_id(START, f"{type(command).__name__}/{number}"), command, self.now)
        self.receive(received)
        return received

    def signal(self, actor: str, name: str = "approve", sha256: str | None = "", number: int = 0) -> SignalReceived:
        """Sends a signal, possibly again; without *sha256*, for the hash that the saga waits for."""
        awaited = next((pending.people.message_sha256 for pending in self.saga.pending if pending.people), None)
        command_id = derive_id(START, f"{actor}/{awaited}/{number}")
        received = SignalReceived(
            command_id=command_id,
            signal=name,
            actor=actor,
            message_sha256=awaited if sha256 == "" else sha256,
            comment=None,
            at=self.now,
        )
        self.receive(received)
        return received

    def settle(self) -> None:
        """Delivers all messages in order, until the saga ends; then delivers the remaining ones late.

        A stuck saga is retried, unless a service is broken.
        """
        for number in range(300):
            if self.saga.is_finished or (self.stuck and self.broken):
                break
            if self.stuck:
                self.operate(RetrySaga(saga_id=self.saga.saga_id), 2000 + number)
            if self.saga.paused_at is not None:
                self.operate(ResumeSaga(saga_id=self.saga.saga_id), 1000 + number)
            self._deliver_all()
            while any(pending.people for pending in self.saga.pending):
                for actor in self.approvers:
                    self.signal(actor)
            if not self.saga.is_finished and not self._has_undelivered():
                self.pass_time()
        assert self.saga.is_finished or self.saga.pending[0], "the saga does not end"
        self._deliver_all()

    @property
    def stuck(self) -> bool:
        return bool(self.saga.pending) and all(pending.stuck for pending in self.saga.pending)

    def _deliver_all(self) -> None:
        for sent in list(self.commands):
            self.deliver(sent)
        for event in list(self.events):
            self.receive(event)

    def _has_undelivered(self) -> bool:
        return any(pending.awaits_service and pending.command_id not in self.answers for pending in self.saga.pending)

    def _answer(self, sent: Sent) -> Event:
        command, about = sent.command, reply_fields(sent)
        if type(command).__name__ in self.broken:
            return CommandRejected(**about, code=RejectionCode.NOT_ALLOWED, message="broken")
        output = self._ask_device(sent) if command.aggregate_type == "yubikey" else self.toys.answer(command)
        match output:
            case Rejection():
                return CommandRejected(**about, code=output.code, message=output.message, retryable=output.retryable)
            case AlreadyDone():
                return CommandRepeated(**about)
            case event:
                return event

    def _ask_device(self, sent: Sent) -> Any:
        log, state = self.log["yubikey", sent.command.identity], YUBIKEY.initial
        for event in log:
            state = YUBIKEY.evolve(state, event)
        context = Context(command_id=sent.command_id, aggregate_id=sent.command.identity, at=self.now)
        output = YUBIKEY.decide(state, sent.command, context)
        while isinstance(output, Perform):
            output = YUBIKEY.decide(state, self._perform_on_device(output.effect), context)
        if isinstance(output, Event):
            log.append(output)
        return output

    def _perform_on_device(self, effect: Any) -> Any:
        if isinstance(effect, devices.AtDevice):
            return devices.EffectDone(_of_device(effect.command))
        holder = self.slots.get(effect.slot)
        match effect:
            case devices.GenerateInSlot() | devices.ImportKeyIntoSlot():
                if holder not in (None, effect.key_id) and not effect.replace:
                    return devices.EffectFailed(RejectionCode.CONFLICT, "occupied")
                self.slots[effect.slot] = effect.key_id
                return devices.SlotFilled(
                    effect=effect,
                    simulated=True,
                    public_key_pem=_PEM,
                    fingerprint_sha256=_SHA,
                    attestation=None,
                    pin_policy=effect.pin_policy,
                    touch_policy=effect.touch_policy,
                    replaced=holder is not None,
                )
            case devices.FetchSealingKey():
                return devices.SealingKeyFetched(effect, True, b"0" * 32)
            case devices.Attest():
                return devices.Attested(
                    effect=effect,
                    simulated=True,
                    public_key_pem=_PEM,
                    firmware="5.7.4",
                    pin_policy=PinPolicy.ONCE,
                    touch_policy=TouchPolicy.NEVER,
                    root_fingerprint_sha256=_SHA,
                )
            case devices.PutCertificate():
                return devices.CertificatePut(effect, True, _SHA)
            case devices.ReadSlot():
                stored = devices.StoredCertificate(_PEM, _SHA, _PEM)
                return devices.SlotContents(effect=effect, simulated=True, public_key_pem=_PEM, certificate=stored)
            case devices.EmptySlot():
                mine = holder is not None and effect.key_id in (None, holder)
                if mine:
                    del self.slots[effect.slot]
                return devices.SlotEmptied(effect=effect, simulated=True, cleared=mine)
        raise AssertionError(effect)

    # -- remaining resources -----------------------------------------------------------------------------------------

    def holders(self) -> list[str]:
        """Returns the holders of devices, or their registrations."""
        state = YUBIKEY.initial
        for event in self.log["yubikey", "42000001"]:
            state = YUBIKEY.evolve(state, event)
        return [each for each in (state.lifecycle.label, state.lifecycle.person_id) if each is not None]

    def existing_keys(self) -> list[str]:
        """This saga's keys whose private half exists: generated and not destroyed."""
        return [key for key in self._without("key", "KeyGenerated", {"KeyDestroyed"}) if key != ISSUER_ID]

    def existing_certificates(self) -> list[str]:
        created = ("CertificateCreated", "CertificateRenewed")
        x509 = [key for kind in created for key in self._without("certificate", kind, {"CertificateRevoked"})]
        return x509 + self._without("ssh-certificate", "SshCertificateCreated", {"SshCertificateRevoked"})

    def existing_nats_jwts(self) -> list[str]:
        return [key for key in self._without("nats-jwt", "NatsJwtCreated", {"NatsJwtRevoked"}) if key != ISSUER_ID]

    def _without(self, aggregate: str, created: str, ended: set[str]) -> list[str]:
        types = {
            key: {type(event).__name__ for event in log} for (kind, key), log in self.log.items() if kind == aggregate
        }
        return [key for key, names in types.items() if created in names and not names & ended]

    def announcement_types(self) -> list[str]:
        return [type(event).__name__ for event in self.announced]
