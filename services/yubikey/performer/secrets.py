"""Setting, taking over and giving out a device's secrets. What is to be set is kept before the device is told of it.

The last APDU of each conversation is the one that changes: a status word then says that nothing was done. Where the
device goes away in the midst, nothing is known, and there is no answer: the command comes again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from services.yubikey.errors import DeviceError
from services.yubikey.piv import pins, secret_rules
from services.yubikey.piv.authentication import authenticate, prove_pin
from services.yubikey.piv.session import CandidateSecrets, OpenDevice
from services.yubikey.state.credentials import Credentials, Secrets
from services.yubikey.state.sealing import SUITE, SealingKey
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.devices import (
    KeyHolder,
    ManagementKeyAlgorithm,
    PukPolicy,
)
from shared.contracts.yubikey.secrets import AdoptSecrets, DeviceSecret, secret_info
from shared.errors import Transient

T = TypeVar("T")


class OnDevice(Protocol):
    """One conversation with the device of that serial number."""

    async def __call__(self, serial: str, work: Callable[[OpenDevice], T]) -> T: ...


class SecretKeeping:
    def __init__(self, credentials: Credentials, sealing_key: SealingKey, on: OnDevice) -> None:
        self._credentials = credentials
        self._sealing_key = sealing_key
        self._on = on

    async def set_pin(self, serial: str, operation_id: str, sealed: bytes | None = None) -> int:
        """Returns how often it may be got wrong."""
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            pin = self._chosen(serial, DeviceSecret.PIN, sealed) or secrets.pending_pin or secret_rules.draw()
            secrets = await self._credentials.write(serial, replace(secrets, pending_pin=pin))
            await self._changing(serial, "pending_pin", lambda device: pins.set_pin(device, pin))
            await self._credentials.change(serial, pin=pin, pending_pin=None, done=operation_id)
        return await self._on(serial, lambda device: device.session.get_pin_attempts())

    async def unblock_pin(self, serial: str, operation_id: str, sealed: bytes | None) -> int:
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            pin = self._chosen(serial, DeviceSecret.PIN, sealed) or secrets.pending_pin or secret_rules.draw()
            secrets = await self._credentials.write(serial, replace(secrets, pending_pin=pin))
            held = secrets
            await self._changing(serial, "pending_pin", lambda device: pins.unblock_pin(device, held, pin))
            await self._credentials.change(serial, pin=pin, pending_pin=None, done=operation_id)
        return await self._on(serial, lambda device: device.session.get_pin_attempts())

    async def set_puk(self, serial: str, operation_id: str, policy: PukPolicy, sealed: bytes | None = None) -> None:
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return
        if policy is PukPolicy.BLOCK:
            await self._unless_gone(serial, pins.block_puk)
            await self._credentials.change(serial, puk=None, pending_puk=None, puk_policy=policy, done=operation_id)
            return
        puk = self._chosen(serial, DeviceSecret.PUK, sealed) or secrets.pending_puk or secret_rules.draw()
        held = await self._credentials.write(serial, replace(secrets, pending_puk=puk))
        await self._changing(serial, "pending_puk", lambda device: pins.set_puk(device, held, puk))
        await self._credentials.change(serial, puk=puk, pending_puk=None, puk_policy=policy, done=operation_id)

    async def set_retries(self, serial: str, operation_id: str, pin_retries: int, puk_retries: int) -> None:
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return
        await self._unless_gone(serial, lambda device: pins.set_tries(device, pin_retries, puk_retries))
        try:
            await self._on(serial, lambda device: pins.restore(device, secrets))
        except DeviceError as error:
            raise _unknown(serial, error) from error
        await self._credentials.change(serial, done=operation_id)

    async def set_management_key(
        self, serial: str, operation_id: str, wanted: ManagementKeyAlgorithm | None, held_by: KeyHolder
    ) -> ManagementKeyAlgorithm:
        algorithm = await self._on(serial, lambda device: pins.algorithm_for(device, wanted))
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return algorithm
        length = pins.KEY_TYPES[algorithm].key_len
        pending = secrets.pending_management_key
        if pending is None or len(pending) != 2 * length:
            pending = secret_rules.draw_key(length).hex()
        secrets = await self._credentials.write(serial, replace(secrets, pending_management_key=pending))
        key = bytes.fromhex(pending)
        try:
            await self._on(serial, lambda device: pins.set_management_key(device, algorithm, key, held_by))
        except DeviceError as error:
            if await self._may_have(serial, key):
                raise _unknown(serial, error) from error
            await self._credentials.change(serial, pending_management_key=None)
            raise
        kept = pending if held_by is KeyHolder.SERVICE else None
        changes = {"management_key": kept, "pending_management_key": None, "held_by": held_by, "done": operation_id}
        await self._credentials.change(serial, **changes)
        return algorithm

    async def adopt(self, serial: str, operation_id: str, asked: AdoptSecrets) -> tuple[DeviceSecret, ...]:
        pin, puk, key = (
            self._opened(serial, secret, sealed) if sealed is not None else None
            for secret, sealed in (
                (DeviceSecret.PIN, asked.sealed_pin),
                (DeviceSecret.PUK, asked.sealed_puk),
                (DeviceSecret.MANAGEMENT_KEY, asked.sealed_management_key),
            )
        )
        given = Secrets(pin=pin, puk=puk, management_key=_hexadecimal(key))
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            await self._unless_gone(serial, lambda device: _hold(device, given))
            known = {name: value for name in ("pin", "puk", "management_key") if (value := getattr(given, name))}
            if puk is not None:
                known["puk_policy"] = PukPolicy.ESCROW
            if key is not None:
                known["held_by"] = KeyHolder.SERVICE
            await self._credentials.change(serial, **known, done=operation_id)
        said = ((DeviceSecret.PIN, pin), (DeviceSecret.PUK, puk), (DeviceSecret.MANAGEMENT_KEY, key))
        return tuple(secret for secret, value in said if value is not None)

    async def released(self, serial: str, secret: DeviceSecret, recipient: bytes) -> bytes:
        """It, sealed to the recipient. Raises DeviceError when it is not held."""
        secrets = await self._credentials.read(serial)
        held = {
            DeviceSecret.PIN: secrets.pin,
            DeviceSecret.PUK: secrets.puk,
            DeviceSecret.MANAGEMENT_KEY: secrets.management_key,
        }[secret]
        if held is None:
            raise DeviceError(RejectionCode.NOT_FOUND, f"the {secret} of YubiKey {serial} is not held here")
        return SUITE.encrypt(held.encode(), X25519PublicKey.from_public_bytes(recipient), secret_info(serial, secret))

    async def _changing(self, serial: str, pending: str, work: Callable[[OpenDevice], object]) -> None:
        try:
            await self._unless_gone(serial, work)
        except DeviceError:
            await self._credentials.change(serial, **{pending: None})
            raise

    async def _unless_gone(self, serial: str, work: Callable[[OpenDevice], object]) -> None:
        try:
            await self._on(serial, work)
        except DeviceError as error:
            if error.retryable:
                raise _unknown(serial, error) from error
            raise

    async def _may_have(self, serial: str, key: bytes) -> bool:
        """Whether the device has that management key by now, as far as can be told: asking costs no tries."""

        def accepts(device: OpenDevice) -> None:
            authenticate(replace(device, candidates=CandidateSecrets((key,))))

        try:
            await self._on(serial, accepts)
        except DeviceError as error:
            return error.retryable
        return True

    def _chosen(self, serial: str, secret: DeviceSecret, sealed: bytes | None) -> str | None:
        return secret_rules.chosen(self._opened(serial, secret, sealed), str(secret).upper()) if sealed else None

    def _opened(self, serial: str, secret: DeviceSecret, sealed: bytes) -> str:
        try:
            return self._sealing_key.opened(sealed, secret_info(serial, secret)).decode()
        except (InvalidTag, ValueError):
            problem = f"the sealed {secret} does not open with this service's key for YubiKey {serial}"
            raise DeviceError(RejectionCode.INVALID, problem) from None


def _hold(device: OpenDevice, given: Secrets) -> None:
    """Raises DeviceError when one of them is not the device's."""
    if given.management_key is not None:
        authenticate(replace(device, candidates=CandidateSecrets(given.management_keys)))
    if given.pin is not None:
        prove_pin(replace(device, candidates=CandidateSecrets((), (given.pin,))))
    if given.puk is not None:
        pins.set_puk(device, given, given.puk)


def _hexadecimal(key: str | None) -> str | None:
    if key is None:
        return None
    try:
        return bytes.fromhex(key).hex()
    except ValueError:
        problem = "the management key that was sealed must be in hexadecimal digits"
        raise DeviceError(RejectionCode.INVALID, problem) from None


def _unknown(serial: str, error: DeviceError) -> Transient:
    return Transient(f"what became of the secrets of YubiKey {serial} is not known: {error}")
