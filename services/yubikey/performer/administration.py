"""Performer of commands about a whole device: inventory, provisioning, reset, secrets, and use of slots."""

from __future__ import annotations

from typing import assert_never

from ykman.piv import generate_ccc, generate_chuid
from yubikit.core import NotSupportedError
from yubikit.piv import OBJECT_ID

from services.yubikey.core.effects import AtDevice
from services.yubikey.errors import DeviceError
from services.yubikey.performer import slot_use
from services.yubikey.performer.secrets import DeviceRunner, SecretAdministration
from services.yubikey.piv import inventory
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.pins import ALGORITHMS
from services.yubikey.piv.session import OpenDevice
from services.yubikey.roles import Role, Roles
from services.yubikey.state.credentials import Credentials, DeviceSecrets
from services.yubikey.state.sealing import SealingKey
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.devices import (
    DetectYubiKey,
    DeviceCommand,
    DeviceEvent,
    PlanSlots,
    ProvisionYubiKey,
    PukPolicy,
    ResetYubiKey,
    SealYubiKey,
    SlotsPlanned,
    YubiKeyProvisioned,
    YubiKeyReset,
)
from shared.contracts.yubikey.secrets import (
    AdoptSecrets,
    ConfigurePin,
    ConfigurePuk,
    ManagementKeyRotated,
    PinConfigured,
    PukConfigured,
    ReleaseSecret,
    RetriesSet,
    RotateManagementKey,
    SecretCommand,
    SecretEvent,
    SecretReleased,
    SecretsAdopted,
    SetRetries,
    UnblockPin,
    YubiKeyUnlocked,
)
from shared.contracts.yubikey.slot_operations import (
    CreateSlotCsr,
    DecryptInSlot,
    MoveSlotKey,
    SignInSlot,
    SlotOperationCommand,
    SlotOperationEvent,
)
from shared.contracts.yubikey.slots import Slot

Firmware = tuple[int, int, int]


class Administration:
    """Carries out `AtDevice` effects."""

    def __init__(self, credentials: Credentials, sealing_key: SealingKey, roles: Roles, run: DeviceRunner) -> None:
        self._credentials = credentials
        self._sealing_key = sealing_key
        self._roles = roles
        self._run = run
        self._secrets = SecretAdministration(credentials, sealing_key, run)

    async def perform(self, effect: AtDevice) -> DeviceEvent | SecretEvent | SlotOperationEvent:
        """Carries out the command. Raises DeviceError if the device or this service rejects it."""
        command = effect.command
        if isinstance(command, SecretCommand):
            return await self._perform_secret_command(effect, command)
        if isinstance(command, SlotOperationCommand):
            return await self._perform_use_command(command)
        return await self._perform_device_command(effect, command)

    async def _perform_device_command(self, effect: AtDevice, command: DeviceCommand) -> DeviceEvent:
        serial = effect.serial
        match command:
            case DetectYubiKey():
                public_key = self._sealing_key.public
                return await self._run(serial, lambda device: inventory.detect(device, public_key))
            case SealYubiKey():
                return await self._run(serial, inventory.seal)
            case ResetYubiKey():
                return await self._reset(effect)
            case PlanSlots(role=name):
                role, (firmware, simulated) = self._roles.role(name), await self._firmware_of(serial)
                plan, version = role.plan(firmware), _dotted(firmware)
                return SlotsPlanned(serial=serial, simulated=simulated, role=name, firmware=version, slots=plan)
            case ProvisionYubiKey(role=name):
                return await self._provision(effect, name, self._roles.role(name))
            case _:
                assert_never(command)

    async def _provision(self, effect: AtDevice, name: str, role: Role) -> YubiKeyProvisioned:
        """Provisions a device. Each step is skipped if it is done already.

        Retry limits come first, since setting them resets PIN and PUK. The management key comes last: all other
        steps need the current one if they are repeated.
        """
        serial, operation_id = effect.serial, effect.operation_id
        firmware, simulated = await self._firmware_of(serial)
        secrets = await self._credentials.read(serial)
        if not await self._run(serial, lambda device: _has_retry_limits(device, role, secrets)):
            await self._secrets.set_retries(serial, f"{operation_id}/tries", role.pin_retries, role.puk_retries)
        if secrets.pin is None:
            await self._secrets.set_pin(serial, f"{operation_id}/pin")
        if secrets.puk_policy is not role.puk or (role.puk is PukPolicy.ESCROW and secrets.puk is None):
            await self._secrets.set_puk(serial, f"{operation_id}/puk", role.puk)
        await self._run(serial, _write_identifiers)
        algorithm = await self._run(serial, lambda device: ALGORITHMS[device.session.management_key_type])
        if secrets.held_by is not role.management_key:
            key = f"{operation_id}/management-key"
            algorithm = await self._secrets.set_management_key(serial, key, None, role.management_key)
        return YubiKeyProvisioned(
            serial=serial,
            simulated=simulated,
            role=name,
            firmware=_dotted(firmware),
            slots=role.plan(firmware),
            pin_retries=role.pin_retries,
            puk_retries=role.puk_retries,
            puk=role.puk,
            management_key_algorithm=algorithm,
            management_key_held_by=role.management_key,
        )

    async def _reset(self, effect: AtDevice) -> YubiKeyReset:
        serial = effect.serial
        _, simulated = await self._firmware_of(serial)
        if (await self._credentials.read(serial)).done != effect.operation_id:
            await self._run(serial, lambda device: device.session.reset())
            await self._credentials.write(serial, DeviceSecrets(done=effect.operation_id))
        return YubiKeyReset(serial=serial, simulated=simulated)

    async def _perform_secret_command(self, effect: AtDevice, command: SecretCommand) -> SecretEvent:
        serial, operation_id, secrets = effect.serial, effect.operation_id, self._secrets
        _, simulated = await self._firmware_of(serial)
        match command:
            case ConfigurePin(sealed_pin=sealed):
                retries = await secrets.set_pin(serial, operation_id, sealed)
                return PinConfigured(serial=serial, simulated=simulated, retries=retries)
            case UnblockPin(sealed_pin=sealed):
                retries = await secrets.unblock_pin(serial, operation_id, sealed)
                return YubiKeyUnlocked(serial=serial, simulated=simulated, retries=retries)
            case ConfigurePuk(policy=policy, sealed_puk=sealed):
                await secrets.set_puk(serial, operation_id, policy, sealed)
                return PukConfigured(serial=serial, simulated=simulated, policy=policy)
            case SetRetries(pin_retries=pin, puk_retries=puk):
                await secrets.set_retries(serial, operation_id, pin, puk)
                return RetriesSet(serial=serial, simulated=simulated, pin_retries=pin, puk_retries=puk)
            case RotateManagementKey(algorithm=requested, held_by=held_by):
                algorithm = await secrets.set_management_key(serial, operation_id, requested, held_by)
                return ManagementKeyRotated(serial=serial, simulated=simulated, algorithm=algorithm, held_by=held_by)
            case AdoptSecrets():
                adopted = await secrets.adopt(serial, operation_id, command)
                return SecretsAdopted(serial=serial, simulated=simulated, adopted=adopted)
            case ReleaseSecret(secret=secret, recipient_public_key=recipient):
                return SecretReleased(
                    serial=serial,
                    simulated=simulated,
                    secret=secret,
                    sealed_secret=await secrets.release(serial, secret, recipient),
                    recipient_public_key=recipient,
                )
            case _:
                assert_never(command)

    async def _perform_use_command(self, command: SlotOperationCommand) -> SlotOperationEvent:
        match command:
            case CreateSlotCsr():
                return await self._run(command.serial, lambda device: slot_use.create_csr(device, command))
            case SignInSlot():
                _require_use("sign", command.slot, self._roles.use.sign)
                return await self._run(command.serial, lambda device: slot_use.sign(device, command))
            case DecryptInSlot():
                _require_use("decrypt", command.slot, self._roles.use.decrypt)
                return await self._run(command.serial, lambda device: slot_use.decrypt(device, command))
            case MoveSlotKey():
                return await self._run(command.serial, lambda device: slot_use.move(device, command))
            case _:
                assert_never(command)

    async def _firmware_of(self, serial: str) -> tuple[Firmware, bool]:
        def read(device: OpenDevice) -> tuple[Firmware, bool]:
            major, minor, patch = device.session.version
            return (major, minor, patch), device.simulated

        return await self._run(serial, read)


def _require_use(use: str, slot: Slot, allowed: frozenset[Slot]) -> None:
    if slot not in allowed:
        slots = ", ".join(sorted(allowed)) or "none"
        problem = f"slot {slot} may not be used to {use} through this service; allowed slots: {slots}"
        raise DeviceError(
            RejectionCode.NOT_ALLOWED, f"{problem} (set [use] {use} in the file that YUBIKEY_ROLES_FILE names)"
        )


def _has_retry_limits(device: OpenDevice, role: Role, secrets: DeviceSecrets) -> bool:
    """True if PIN and PUK have the retry limits of the role. A blocked PUK keeps its limit."""
    try:
        pin, puk = device.session.get_pin_metadata(), device.session.get_puk_metadata()
    except NotSupportedError:  # firmware before 5.3 has no metadata: assume that they are set once a PIN is stored
        return secrets.pin is not None
    return (pin.total_attempts, puk.total_attempts) == (role.pin_retries, role.puk_retries)


def _write_identifiers(device: OpenDevice) -> None:
    """Writes CHUID and CCC if they are missing: Windows ignores a card without them."""
    missing = [
        (name, generate)
        for name, generate in ((OBJECT_ID.CHUID, generate_chuid), (OBJECT_ID.CAPABILITY, generate_ccc))
        if not inventory.has_object(device, name)
    ]
    if missing:
        authenticate(device)
    for name, generate in missing:
        device.session.put_object(name, generate())


def _dotted(firmware: Firmware) -> str:
    return ".".join(map(str, firmware))
