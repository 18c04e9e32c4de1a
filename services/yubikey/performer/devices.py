"""The devices at work: performs what the core asks for, each effect so that asking twice changes the world once."""

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
    DeviceRefused,
    Done,
    Effect,
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
from services.yubikey.piv.diff import is_to_go, look
from services.yubikey.piv.operations import Filling, attest, contents, filled, key_type_of, put_certificate
from services.yubikey.piv.session import KEY_TYPES, CandidateSecrets, OpenDevice, Prompter, opened
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
_LONGEST_END = 20.0
_MOST_DEVICES = 512
"""How many may be worked with, or waited at, at the same time in one process."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is known of devices beside themselves. *management_key*: of those that have been given no other here."""

    credentials: Credentials
    roles: Roles
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)


class YubiKeys:
    """Every device that can be reached. One operation at a time on each; the connection is closed after every one."""

    def __init__(
        self,
        sources: Sequence[Devices],
        intents: Intents,
        sealing_key: SealingKey,
        keeping: Keeping,
        prompter: Prompter | None = None,
    ) -> None:
        self._sources = sources
        self._intents = intents
        self._sealing_key = sealing_key
        self._keeping = keeping
        self._prompter = prompter
        self._administration = Administration(keeping.credentials, sealing_key, keeping.roles, self._conversing)
        self._threads = ThreadPoolExecutor(_MOST_DEVICES, "device")
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def rest(self) -> bool:
        """Take up nothing more. Whether what was under way on the threads has ended, after a while."""
        self._threads.shutdown(wait=False)
        ending = asyncio.to_thread(self._threads.shutdown)
        try:
            await asyncio.wait_for(ending, _LONGEST_END)
        except TimeoutError:
            return False
        return True

    async def perform(self, effect: Effect) -> Outcome:
        async with self._turns[effect.serial]:
            try:
                return await self._perform(effect)
            except DeviceError as error:
                return DeviceRefused(error.code, str(error), error.retryable)

    async def _perform(self, effect: Effect) -> Outcome:
        match effect:
            case AtDevice():
                return Done(await self._administration.perform(effect))
            case GenerateInSlot():
                return await self._fill(effect, None)
            case ImportKeyIntoSlot():
                return await self._fill(effect, await self._on_a_thread(self._unsealed, effect))
            case EmptySlot():
                return await self._empty(effect)
            case FetchSealingKey():
                public_key = self._sealing_key.public
                return await self._on(effect, lambda device: SealingKeyFetched(effect, device.simulated, public_key))
            case Attest():
                return await self._on(effect, lambda device: attest(device, effect))
            case PutCertificate():
                return await self._put(effect)
            case ReadSlot():
                return await self._on(effect, lambda device: contents(device, effect))
            case _:
                assert_never(effect)

    async def _fill(self, effect: Filling, private_key: PrivateKey | None) -> SlotFilled:
        """Write down what is about to be done, then do it; where it turns out to be done, tell what came of it."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        if effect.key_id in intent.voided:
            raise DeviceError(RejectionCode.CONFLICT, f"key {effect.key_id} was undone before it was done")
        try:
            found = await self._on(effect, lambda device: look(device, effect, private_key, intent))
        except DeviceError as error:
            if error.retryable and intent.operation_id == effect.operation_id:
                raise _unknown(effect, error) from error  # it was begun, and may be done: that is no refusal
            raise
        if isinstance(found, SlotFilled):
            return found
        about = Intent(
            effect.operation_id,
            effect.key_id,
            found.fingerprint,
            occupied=found.is_occupied(intent.discarded)
            or (intent.operation_id == effect.operation_id and intent.occupied),
            discarded=intent.discarded,
            voided=intent.voided,
        )
        await self._intents.write(effect.serial, effect.slot, about, revision)

        def fill(device: OpenDevice) -> SlotFilled:
            authenticate(device)
            device.fill(effect.slot, effect.algorithm, effect.pin_policy, effect.touch_policy, private_key)
            return filled(device, effect, about.occupied)

        return await self._changing(effect, fill, found)

    async def _put(self, effect: PutCertificate) -> CertificatePut:
        found = await self._on(effect, lambda device: device.read(effect.slot))
        return await self._changing(effect, lambda device: put_certificate(device, effect), found)

    async def _changing(self, effect: SlotEffect, work: Callable[[OpenDevice], T], before: SlotReading) -> T:
        """Do *work* that changes the slot. A refusal says that nothing was done: it is passed on where that is so.

        Else, or where it cannot be told, there is no answer yet: the command comes again, or who asked gives it up as
        unknown and has it undone.
        """
        try:
            return await self._on(effect, work)
        except DeviceError as error:
            if not await self._is_still(effect, before):
                raise _unknown(effect, error) from error
            raise

    async def _is_still(self, effect: SlotEffect, before: SlotReading) -> bool:
        try:
            return (await self._on(effect, lambda device: device.read(effect.slot))).is_like(before)
        except DeviceError:
            return False

    async def _empty(self, effect: EmptySlot) -> SlotEmptied:
        """Delete what is there for the effect's key, and note that this key must not come any more."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        found = await self._on(effect, lambda device: device.read(effect.slot))
        again = intent.operation_id == effect.operation_id
        overwrote = intent.overwrote if again else intent.key_id == effect.key_id is not None and intent.occupied
        if effect.key_id is not None:
            intent = intent.voiding(effect.key_id)
        if not again and not is_to_go(effect, intent, found):
            if effect.key_id is not None:
                await self._intents.write(effect.serial, effect.slot, intent, revision)
            return SlotEmptied(effect, found.simulated, cleared=False, overwrote=overwrote)
        if not again:
            intent = replace(intent, operation_id=effect.operation_id, occupied=True, overwrote=overwrote)
            revision = await self._intents.write(effect.serial, effect.slot, intent, revision)

        def empty(device: OpenDevice) -> str | None:
            authenticate(device)
            return device.empty(effect.slot)

        discarded = await self._on(effect, empty)
        nobodys = replace(intent, key_id=None, before=None, discarded=discarded)
        await self._intents.write(effect.serial, effect.slot, nobodys, revision)
        return SlotEmptied(effect, found.simulated, cleared=True, overwrote=overwrote)

    async def _on(self, effect: SlotEffect, work: Callable[[OpenDevice], T]) -> T:
        """Do *work* with the effect's device, on a thread: a device takes its time, up to minutes for an RSA key."""
        return await self._conversing(effect.serial, work)

    async def _conversing(self, serial: str, work: Callable[[OpenDevice], T]) -> T:
        secrets = await self._keeping.credentials.read(serial)
        candidates = CandidateSecrets((*secrets.management_keys, self._keeping.management_key), secrets.pins)
        return await self._on_a_thread(self._work, serial, candidates, work)

    async def _on_a_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Not one of the loop's few threads: while a person is waited for here, others work there."""
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(work, *args, **kwargs)
        )

    def _work(self, serial: str, candidates: CandidateSecrets, work: Callable[[OpenDevice], T]) -> T:
        devices, connection = open_device(self._sources, serial)
        with opened(connection, int(serial), devices, candidates, self._prompter) as device:
            return work(device)

    def _unsealed(self, effect: ImportKeyIntoSlot) -> PrivateKey:
        try:
            key = self._sealing_key.open(effect.sealed_key, effect.key_id)
        except SealError as error:
            raise DeviceError(RejectionCode.INVALID, f"the sealed key cannot be imported: {error}") from None
        if key_type_of(key) != KEY_TYPES[effect.algorithm]:
            raise DeviceError(RejectionCode.INVALID, f"the sealed key is not an {effect.algorithm} key")
        return key


def _unknown(effect: SlotEffect, error: DeviceError) -> Transient:
    return Transient(f"slot {effect.slot} of YubiKey {effect.serial} may be changed already: {error}")
