"""Performer of secret commands: sets, adopts and releases PIN, PUK and management key. A new secret is stored first.

The last APDU of each session is the one that changes the device, so an error status means that nothing changed. If the
device is removed in between, the result is unknown: the command is retried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from services.yubikey.errors import DeviceError
from services.yubikey.piv import pins, secret_rules
from services.yubikey.piv.authentication import authenticate, verify_pin
from services.yubikey.piv.session import CandidateSecrets, OpenDevice
from services.yubikey.state.credentials import Credentials, DeviceSecrets
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


class DeviceRunner(Protocol):
    """Runs work in one PIV session with a device."""

    async def __call__(self, serial: str, work: Callable[[OpenDevice], T]) -> T: ...


class SecretAdministration:
    """Changes of a device's secrets. Each is idempotent for its *operation_id*."""

    def __init__(self, credentials: Credentials, sealing_key: SealingKey, run: DeviceRunner) -> None:
        self._credentials = credentials
        self._sealing_key = sealing_key
        self._run = run

    async def set_pin(self, serial: str, operation_id: str, sealed: bytes | None = None) -> int:
        """Sets the PIN, generated unless *sealed* brings one. Returns the attempts left."""
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            pin = (
                self._acceptable(serial, DeviceSecret.PIN, sealed) or secrets.pending_pin or secret_rules.generate_pin()
            )
            secrets = await self._credentials.write(serial, replace(secrets, pending_pin=pin))
            await self._change(serial, "pending_pin", lambda device: pins.set_pin(device, pin))
            await self._credentials.change(serial, pin=pin, pending_pin=None, done=operation_id)
        return await self._run(serial, lambda device: device.session.get_pin_attempts())

    async def unblock_pin(self, serial: str, operation_id: str, sealed: bytes | None) -> int:
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            pin = (
                self._acceptable(serial, DeviceSecret.PIN, sealed) or secrets.pending_pin or secret_rules.generate_pin()
            )
            secrets = await self._credentials.write(serial, replace(secrets, pending_pin=pin))
            stored = secrets
            await self._change(serial, "pending_pin", lambda device: pins.unblock_pin(device, stored, pin))
            await self._credentials.change(serial, pin=pin, pending_pin=None, done=operation_id)
        return await self._run(serial, lambda device: device.session.get_pin_attempts())

    async def set_puk(self, serial: str, operation_id: str, policy: PukPolicy, sealed: bytes | None = None) -> None:
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return
        if policy is PukPolicy.BLOCK:
            await self._run_to_end(serial, pins.block_puk)
            await self._credentials.change(serial, puk=None, pending_puk=None, puk_policy=policy, done=operation_id)
            return
        puk = self._acceptable(serial, DeviceSecret.PUK, sealed) or secrets.pending_puk or secret_rules.generate_pin()
        stored = await self._credentials.write(serial, replace(secrets, pending_puk=puk))
        await self._change(serial, "pending_puk", lambda device: pins.set_puk(device, stored, puk))
        await self._credentials.change(serial, puk=puk, pending_puk=None, puk_policy=policy, done=operation_id)

    async def set_retries(self, serial: str, operation_id: str, pin_retries: int, puk_retries: int) -> None:
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return
        await self._run_to_end(serial, lambda device: pins.set_retries(device, pin_retries, puk_retries))
        try:
            await self._run(serial, lambda device: pins.restore_pin_and_puk(device, secrets))
        except DeviceError as error:
            raise _unknown(serial, error) from error
        await self._credentials.change(serial, done=operation_id)

    async def set_management_key(
        self, serial: str, operation_id: str, requested: ManagementKeyAlgorithm | None, held_by: KeyHolder
    ) -> ManagementKeyAlgorithm:
        algorithm = await self._run(serial, lambda device: pins.algorithm_for(device, requested))
        secrets = await self._credentials.read(serial)
        if secrets.done == operation_id:
            return algorithm
        length = pins.KEY_TYPES[algorithm].key_len
        pending = secrets.pending_management_key
        if pending is None or len(pending) != 2 * length:
            pending = secret_rules.generate_management_key(length).hex()
        secrets = await self._credentials.write(serial, replace(secrets, pending_management_key=pending))
        key = bytes.fromhex(pending)
        try:
            await self._run(serial, lambda device: pins.set_management_key(device, algorithm, key, held_by))
        except DeviceError as error:
            if await self._may_accept(serial, key):
                raise _unknown(serial, error) from error
            await self._credentials.change(serial, pending_management_key=None)
            raise
        stored = pending if held_by is KeyHolder.SERVICE else None
        changes = {"management_key": stored, "pending_management_key": None, "held_by": held_by, "done": operation_id}
        await self._credentials.change(serial, **changes)
        return algorithm

    async def adopt(self, serial: str, operation_id: str, command: AdoptSecrets) -> tuple[DeviceSecret, ...]:
        pin, puk, key = (
            self._unseal(serial, secret, sealed) if sealed is not None else None
            for secret, sealed in (
                (DeviceSecret.PIN, command.sealed_pin),
                (DeviceSecret.PUK, command.sealed_puk),
                (DeviceSecret.MANAGEMENT_KEY, command.sealed_management_key),
            )
        )
        given = DeviceSecrets(pin=pin, puk=puk, management_key=_hexadecimal(key))
        secrets = await self._credentials.read(serial)
        if secrets.done != operation_id:
            await self._run_to_end(serial, lambda device: _require_accepted(device, given))
            changes = {name: value for name in ("pin", "puk", "management_key") if (value := getattr(given, name))}
            if puk is not None:
                changes["puk_policy"] = PukPolicy.ESCROW
            if key is not None:
                changes["held_by"] = KeyHolder.SERVICE
            await self._credentials.change(serial, **changes, done=operation_id)
        adopted = ((DeviceSecret.PIN, pin), (DeviceSecret.PUK, puk), (DeviceSecret.MANAGEMENT_KEY, key))
        return tuple(secret for secret, value in adopted if value is not None)

    async def release(self, serial: str, secret: DeviceSecret, recipient: bytes) -> bytes:
        """The stored secret, sealed to the recipient. Raises DeviceError if there is none."""
        secrets = await self._credentials.read(serial)
        stored = {
            DeviceSecret.PIN: secrets.pin,
            DeviceSecret.PUK: secrets.puk,
            DeviceSecret.MANAGEMENT_KEY: secrets.management_key,
        }[secret]
        if stored is None:
            raise DeviceError(RejectionCode.NOT_FOUND, f"this service does not store the {secret} of YubiKey {serial}")
        return SUITE.encrypt(stored.encode(), X25519PublicKey.from_public_bytes(recipient), secret_info(serial, secret))

    async def _change(self, serial: str, pending: str, work: Callable[[OpenDevice], object]) -> None:
        try:
            await self._run_to_end(serial, work)
        except DeviceError:
            await self._credentials.change(serial, **{pending: None})
            raise

    async def _run_to_end(self, serial: str, work: Callable[[OpenDevice], object]) -> None:
        try:
            await self._run(serial, work)
        except DeviceError as error:
            if error.retryable:
                raise _unknown(serial, error) from error
            raise

    async def _may_accept(self, serial: str, key: bytes) -> bool:
        """True if the device has this management key, or cannot be reached. A wrong one costs no attempts."""

        def accepts(device: OpenDevice) -> None:
            authenticate(replace(device, candidates=CandidateSecrets((key,))))

        try:
            await self._run(serial, accepts)
        except DeviceError as error:
            return error.retryable
        return True

    def _acceptable(self, serial: str, secret: DeviceSecret, sealed: bytes | None) -> str | None:
        return (
            secret_rules.require_acceptable(self._unseal(serial, secret, sealed), str(secret).upper())
            if sealed
            else None
        )

    def _unseal(self, serial: str, secret: DeviceSecret, sealed: bytes) -> str:
        try:
            return self._sealing_key.unseal(sealed, secret_info(serial, secret)).decode()
        except (InvalidTag, ValueError):
            problem = f"the sealed {secret} does not open with this service's key for YubiKey {serial}"
            raise DeviceError(RejectionCode.INVALID, problem) from None


def _require_accepted(device: OpenDevice, given: DeviceSecrets) -> None:
    """Raises DeviceError if the device does not accept one of the secrets."""
    if given.management_key is not None:
        authenticate(replace(device, candidates=CandidateSecrets(given.management_keys)))
    if given.pin is not None:
        verify_pin(replace(device, candidates=CandidateSecrets((), (given.pin,))))
    if given.puk is not None:
        pins.set_puk(device, given, given.puk)


def _hexadecimal(key: str | None) -> str | None:
    if key is None:
        return None
    try:
        return bytes.fromhex(key).hex()
    except ValueError:
        problem = "the sealed management key must be hexadecimal"
        raise DeviceError(RejectionCode.INVALID, problem) from None


def _unknown(serial: str, error: DeviceError) -> Transient:
    return Transient(f"it is unknown if the secrets of YubiKey {serial} changed: {error}")
