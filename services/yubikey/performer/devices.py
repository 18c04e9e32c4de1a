"""Performer of device effects. Each effect is idempotent: a repetition finds what the first performance did."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import ParamSpec, TypeVar, assert_never

from yubikit.piv import DEFAULT_MANAGEMENT_KEY, PrivateKey

from services.yubikey.core.effects import (
    AtDevice,
    Attest,
    CertificatePut,
    Effect,
    EffectDone,
    EffectFailed,
    EmptySlot,
    FetchSealingKey,
    GenerateInSlot,
    ImportKeyIntoSlot,
    Outcome,
    PutCertificate,
    ReadSlot,
    SealingKeyFetched,
    SlotEffect,
    SlotEmptied,
    SlotFilled,
)
from services.yubikey.errors import DeviceError
from services.yubikey.performer.administration import Administration
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.diff import inspect_slot, should_clear
from services.yubikey.piv.operations import FillEffect, attest, key_type_of, put_certificate, read_contents, slot_filled
from services.yubikey.piv.session import KEY_TYPES, CandidateSecrets, OpenDevice, Prompter, open_piv
from services.yubikey.piv.slots import SlotReading
from services.yubikey.readers.directory import Devices, open_device
from services.yubikey.roles import Roles
from services.yubikey.state.credentials import Credentials
from services.yubikey.state.intents import Intent, Intents
from services.yubikey.state.sealing import SealError, SealingKey
from shared.contracts.rejection import RejectionCode
from shared.errors import Transient

T = TypeVar("T")
P = ParamSpec("P")
_DRAIN_TIMEOUT_S = 20.0
_MAX_CONCURRENT_DEVICES = 512
"""Devices that one process can use, or wait at, at the same time: one thread each."""


@dataclass(frozen=True, slots=True)
class DeviceConfiguration:
    """Stored secrets and roles. *management_key*: the key of devices that have no stored one."""

    credentials: Credentials
    roles: Roles
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)


class DevicePerformer:
    """Performs effects on the devices of all sources: one operation at a time on each, with a connection of its own."""

    def __init__(
        self,
        sources: Sequence[Devices],
        intents: Intents,
        sealing_key: SealingKey,
        configuration: DeviceConfiguration,
        prompter: Prompter | None = None,
    ) -> None:
        self._sources = sources
        self._intents = intents
        self._sealing_key = sealing_key
        self._configuration = configuration
        self._prompter = prompter
        self._administration = Administration(configuration.credentials, sealing_key, configuration.roles, self._run)
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENT_DEVICES, "device")
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def drain(self) -> bool:
        """Starts no more operations. Returns True if those in flight have ended in time."""
        self._threads.shutdown(wait=False)
        shutdown = asyncio.to_thread(self._threads.shutdown)
        try:
            await asyncio.wait_for(shutdown, _DRAIN_TIMEOUT_S)
        except TimeoutError:
            return False
        return True

    async def perform(self, effect: Effect) -> Outcome:
        async with self._locks[effect.serial]:
            try:
                return await self._perform(effect)
            except DeviceError as error:
                return EffectFailed(error.code, str(error), retryable=error.retryable)

    async def _perform(self, effect: Effect) -> Outcome:
        match effect:
            case AtDevice():
                return EffectDone(await self._administration.perform(effect))
            case GenerateInSlot():
                return await self._fill(effect, None)
            case ImportKeyIntoSlot():
                return await self._fill(effect, await self._on_a_thread(self._unseal, effect))
            case EmptySlot():
                return await self._empty(effect)
            case FetchSealingKey():
                public_key = self._sealing_key.public
                return await self._run_effect(
                    effect, lambda device: SealingKeyFetched(effect, device.simulated, public_key)
                )
            case Attest():
                return await self._run_effect(effect, lambda device: attest(device, effect))
            case PutCertificate():
                return await self._put(effect)
            case ReadSlot():
                return await self._run_effect(effect, lambda device: read_contents(device, effect))
            case _:
                assert_never(effect)

    async def _fill(self, effect: FillEffect, private_key: PrivateKey | None) -> SlotFilled:
        """Writes the intent, then fills the slot. If the slot is filled already, reports that."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        if effect.key_id in intent.voided:
            raise DeviceError(RejectionCode.CONFLICT, f"key {effect.key_id} was undone before it arrived")
        try:
            found = await self._run_effect(effect, lambda device: inspect_slot(device, effect, private_key, intent))
        except DeviceError as error:
            if error.retryable and intent.operation_id == effect.operation_id:
                raise _unknown(effect, error) from error  # it may have been performed: not a rejection
            raise
        if isinstance(found, SlotFilled):
            return found
        planned = Intent(
            operation_id=effect.operation_id,
            key_id=effect.key_id,
            before=found.fingerprint,
            occupied=found.is_occupied(intent.discarded)
            or (intent.operation_id == effect.operation_id and intent.occupied),
            discarded=intent.discarded,
            voided=intent.voided,
        )
        await self._intents.write(effect.serial, effect.slot, planned, revision)

        def fill(device: OpenDevice) -> SlotFilled:
            authenticate(device)
            device.fill(effect.slot, effect.algorithm, effect.pin_policy, effect.touch_policy, private_key)
            return slot_filled(device, effect, replaced=planned.occupied)

        return await self._change(effect, fill, found)

    async def _put(self, effect: PutCertificate) -> CertificatePut:
        found = await self._run_effect(effect, lambda device: device.read(effect.slot))
        return await self._change(effect, lambda device: put_certificate(device, effect), found)

    async def _change(self, effect: SlotEffect, work: Callable[[OpenDevice], T], before: SlotReading) -> T:
        """Runs *work*, which changes the slot. A rejection means "nothing changed", so it needs an unchanged slot.

        Raises Transient if the slot changed, or cannot be read: the command is retried, or the saga compensates it.
        """
        try:
            return await self._run_effect(effect, work)
        except DeviceError as error:
            if not await self._is_unchanged(effect, before):
                raise _unknown(effect, error) from error
            raise

    async def _is_unchanged(self, effect: SlotEffect, before: SlotReading) -> bool:
        try:
            return (await self._run_effect(effect, lambda device: device.read(effect.slot))).is_like(before)
        except DeviceError:
            return False

    async def _empty(self, effect: EmptySlot) -> SlotEmptied:
        """Deletes the key of the effect, and voids its id: a late command must not create it any more."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        found = await self._run_effect(effect, lambda device: device.read(effect.slot))
        is_retry = intent.operation_id == effect.operation_id
        overwrote = intent.overwrote if is_retry else intent.key_id == effect.key_id is not None and intent.occupied
        if effect.key_id is not None:
            intent = intent.void(effect.key_id)
        if not is_retry and not should_clear(effect, intent, found):
            if effect.key_id is not None:
                await self._intents.write(effect.serial, effect.slot, intent, revision)
            return SlotEmptied(effect=effect, simulated=found.simulated, cleared=False, overwrote=overwrote)
        if not is_retry:
            intent = replace(intent, operation_id=effect.operation_id, occupied=True, overwrote=overwrote)
            revision = await self._intents.write(effect.serial, effect.slot, intent, revision)

        def empty(device: OpenDevice) -> str | None:
            authenticate(device)
            return device.empty(effect.slot)

        discarded = await self._run_effect(effect, empty)
        emptied = replace(intent, key_id=None, before=None, discarded=discarded)
        await self._intents.write(effect.serial, effect.slot, emptied, revision)
        return SlotEmptied(effect=effect, simulated=found.simulated, cleared=True, overwrote=overwrote)

    async def _run_effect(self, effect: SlotEffect, work: Callable[[OpenDevice], T]) -> T:
        """Runs *work* with the effect's device, on a thread: generating an RSA key can take minutes."""
        return await self._run(effect.serial, work)

    async def _run(self, serial: str, work: Callable[[OpenDevice], T]) -> T:
        secrets = await self._configuration.credentials.read(serial)
        candidates = CandidateSecrets((*secrets.management_keys, self._configuration.management_key), secrets.pins)
        return await self._on_a_thread(self._run_blocking, serial, candidates, work)

    async def _on_a_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs *work* on a device thread: waiting for a person would block the default executor's few threads."""
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(work, *args, **kwargs)
        )

    def _run_blocking(self, serial: str, candidates: CandidateSecrets, work: Callable[[OpenDevice], T]) -> T:
        devices, connection = open_device(self._sources, serial)
        with open_piv(connection, int(serial), devices, candidates, self._prompter) as device:
            return work(device)

    def _unseal(self, effect: ImportKeyIntoSlot) -> PrivateKey:
        try:
            key = self._sealing_key.unseal_private_key(effect.sealed_key, effect.key_id)
        except SealError as error:
            raise DeviceError(RejectionCode.INVALID, f"the sealed key cannot be imported: {error}") from None
        if key_type_of(key) != KEY_TYPES[effect.algorithm]:
            raise DeviceError(RejectionCode.INVALID, f"the sealed key is not a key for {effect.algorithm}")
        return key


def _unknown(effect: SlotEffect, error: DeviceError) -> Transient:
    return Transient(f"slot {effect.slot} of YubiKey {effect.serial} may have changed already: {error}")
