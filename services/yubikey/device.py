"""The devices at work: performs what the core asks for, each effect so that asking twice changes the world once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import ParamSpec, TypeVar, assert_never

from yubikit.piv import DEFAULT_MANAGEMENT_KEY, PrivateKey

from services.yubikey.attestation import spki
from services.yubikey.directory import DeviceError, Devices, open_device
from services.yubikey.effects import (
    Attest,
    DeviceRefused,
    Effect,
    EmptySlot,
    FetchSealingKey,
    GenerateInSlot,
    ImportKeyIntoSlot,
    Outcome,
    PutCertificate,
    ReadSlot,
    SealingKeyFetched,
    SlotEmptied,
    SlotFilled,
)
from services.yubikey.intents import Intent, Intents
from services.yubikey.operations import Filling, attest, contents, filled, key_type_of, put_certificate
from services.yubikey.piv import KEY_TYPES, OpenDevice, opened
from services.yubikey.prompting import People
from services.yubikey.sealing import SealError, SealingKey
from services.yubikey.slots import SlotReading
from shared.contracts.command import RefusalCode

T = TypeVar("T")
P = ParamSpec("P")
_LONGEST_END = 20.0
_MOST_DEVICES = 512
"""How many may be worked with, or waited at, at the same time in one process."""


class YubiKeys:
    """Every device that can be reached. One operation at a time on each; the connection is closed after every one."""

    def __init__(
        self,
        sources: Sequence[Devices],
        intents: Intents,
        sealing_key: SealingKey,
        management_key: bytes = DEFAULT_MANAGEMENT_KEY,
        people: People | None = None,
    ) -> None:
        self._sources = sources
        self._intents = intents
        self._sealing_key = sealing_key
        self._management_key = management_key
        self._people = people
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
                return await self._on(effect, lambda device: put_certificate(device, effect))
            case ReadSlot():
                return await self._on(effect, lambda device: contents(device, effect))
            case _:
                assert_never(effect)

    async def _fill(self, effect: Filling, private_key: PrivateKey | None) -> SlotFilled:
        """Write down what is about to be done, then do it; where it turns out to be done, tell what came of it."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        if effect.key_id in intent.voided:
            raise DeviceError(RefusalCode.CONFLICT, f"key {effect.key_id} was undone before it was done")
        found = await self._on(effect, lambda device: _look(device, effect, private_key, intent))
        if isinstance(found, SlotFilled):
            return found
        about = Intent(
            effect.operation_id,
            effect.key_id,
            found.key.fingerprint if found.key is not None else None,
            occupied=found.is_occupied(intent.discarded)
            or (intent.operation_id == effect.operation_id and intent.occupied),
            discarded=intent.discarded,
            voided=intent.voided,
        )
        await self._intents.write(effect.serial, effect.slot, about, revision)

        def fill(device: OpenDevice) -> SlotFilled:
            device.authenticate()
            device.fill(effect.slot, effect.algorithm, effect.pin_policy, effect.touch_policy, private_key)
            return filled(device, effect, about.occupied)

        return await self._on(effect, fill)

    async def _empty(self, effect: EmptySlot) -> SlotEmptied:
        """Delete what is there for the effect's key, and note that this key must not come any more."""
        intent, revision = await self._intents.read(effect.serial, effect.slot)
        found = await self._on(effect, lambda device: device.read(effect.slot))
        again = intent.operation_id == effect.operation_id
        overwrote = intent.overwrote if again else intent.key_id == effect.key_id is not None and intent.occupied
        if effect.key_id is not None:
            intent = intent.voiding(effect.key_id)
        if not again and not _is_to_go(effect, intent, found):
            if effect.key_id is not None:
                await self._intents.write(effect.serial, effect.slot, intent, revision)
            return SlotEmptied(effect, found.simulated, cleared=False, overwrote=overwrote)
        if not again:
            intent = replace(intent, operation_id=effect.operation_id, occupied=True, overwrote=overwrote)
            revision = await self._intents.write(effect.serial, effect.slot, intent, revision)

        def empty(device: OpenDevice) -> str | None:
            device.authenticate()
            return device.empty(effect.slot)

        discarded = await self._on(effect, empty)
        nobodys = replace(intent, key_id=None, before=None, discarded=discarded)
        await self._intents.write(effect.serial, effect.slot, nobodys, revision)
        return SlotEmptied(effect, found.simulated, cleared=True, overwrote=overwrote)

    async def _on(self, effect: Effect, work: Callable[[OpenDevice], T]) -> T:
        """Do *work* with the effect's device, on a thread: a device takes its time, up to minutes for an RSA key."""
        return await self._on_a_thread(self._work, effect.serial, work)

    async def _on_a_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Not one of the loop's few threads: while a person is waited for here, others work there."""
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(work, *args, **kwargs)
        )

    def _work(self, serial: str, work: Callable[[OpenDevice], T]) -> T:
        devices, connection = open_device(self._sources, serial)
        with opened(connection, int(serial), devices, self._management_key, self._people) as device:
            return work(device)

    def _unsealed(self, effect: ImportKeyIntoSlot) -> PrivateKey:
        try:
            key = self._sealing_key.open(effect.sealed_key, effect.key_id)
        except SealError as error:
            raise DeviceError(RefusalCode.INVALID, f"the sealed key cannot be imported: {error}") from None
        if key_type_of(key) != KEY_TYPES[effect.algorithm]:
            raise DeviceError(RefusalCode.INVALID, f"the sealed key is not an {effect.algorithm} key")
        return key


def _look(
    device: OpenDevice, effect: Filling, private_key: PrivateKey | None, intent: Intent
) -> SlotFilled | SlotReading:
    """What is in the slot before it is filled; what came of it, if it is. All that can be refused is refused here,
    before an intent is written and before anything is deleted.
    """
    found = device.read(effect.slot)
    if _is_done(effect, private_key, intent, found):
        return filled(device, effect, intent.occupied)
    if found.is_occupied(intent.discarded) and not effect.replace:
        problem = f"slot {effect.slot} of YubiKey {effect.serial} has a key or a certificate"
        remedy = 'clear it first, or say "replace": true to overwrite it for good'
        raise DeviceError(RefusalCode.CONFLICT, f"{problem}; {remedy}")
    device.check_support(effect.algorithm, effect.pin_policy, effect.touch_policy, generate=private_key is None)
    if (
        not device.asks_for_touch
    ):  # it would be asked for twice; a wrong key is then found out later, in vain but safely
        device.authenticate()
    return found


def _is_done(effect: Filling, private_key: PrivateKey | None, intent: Intent, found: SlotReading) -> bool:
    """Whether the key in the slot is what this effect, or an earlier one for the same key id, put there."""
    if found.key is None or not intent.owns(effect.key_id, found.key.fingerprint):
        return False
    if private_key is not None:
        return spki(found.key.public_key) == spki(private_key.public_key())
    return found.key.metadata.generated and found.key.metadata.key_type == KEY_TYPES[effect.algorithm]


def _is_to_go(effect: EmptySlot, intent: Intent, found: SlotReading) -> bool:
    if not found.is_occupied(intent.discarded):
        return False
    if effect.key_id is None:
        return True
    if effect.public_key_pem is not None:  # the log knows the key: what is there instead of it is somebody else's
        return effect.public_key_pem == found.public_key_pem
    return intent.owns(effect.key_id, found.key.fingerprint if found.key is not None else None)
