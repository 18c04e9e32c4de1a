"""Stored PIN, PUK and management key of each device: one sealed document a device.

A new secret is stored as *pending* before the device gets it. After a crash both are candidates, and the device accepts
one of them (docs/adr/0019).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidTag
from pydantic import TypeAdapter

from services.yubikey.state.leases import Leases
from services.yubikey.state.sealing import DocumentSealing
from shared.contracts.yubikey.devices import KeyHolder, PukPolicy
from shared.errors import Poison
from shared.nats.kv import KeyValue

PURPOSE = b"cim-keys/yubikey/device-secrets/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSecrets:
    """Secrets of one device; None: not stored. The field names are those of the stored JSON.

    *pending_…*: secrets that the device may have already. *done*: id of the last operation that was carried out.
    Management keys are hexadecimal.
    """

    pin: str | None = field(default=None, repr=False)
    puk: str | None = field(default=None, repr=False)
    management_key: str | None = field(default=None, repr=False)
    pending_pin: str | None = field(default=None, repr=False)
    pending_puk: str | None = field(default=None, repr=False)
    pending_management_key: str | None = field(default=None, repr=False)
    puk_policy: PukPolicy | None = None
    held_by: KeyHolder | None = None
    done: str = ""

    @property
    def management_keys(self) -> tuple[bytes, ...]:
        """Candidates, the likeliest first."""
        candidates = (self.pending_management_key, self.management_key)
        return tuple(bytes.fromhex(key) for key in candidates if key is not None)

    @property
    def pins(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pin for pin in (self.pending_pin, self.pin) if pin is not None))

    @property
    def puks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(puk for puk in (self.pending_puk, self.puk) if puk is not None))


_DOCUMENT = TypeAdapter(DeviceSecrets)


class Credentials:
    """The secrets documents in KEYS_DEVICES. With *leases*, writes are fenced by the device's lease."""

    def __init__(self, bucket: KeyValue, sealing: DocumentSealing, leases: Leases | None = None) -> None:
        self._bucket = bucket
        self._sealing = sealing
        self._leases = leases

    async def read(self, serial: str) -> DeviceSecrets:
        """Reads the secrets of a device. Raises Poison if they are sealed with the secret of another service."""
        document = await self._bucket.get(_name(serial))
        if document is None:
            return DeviceSecrets()
        try:
            opened, _ = self._sealing.open(document.value, serial)
        except InvalidTag:
            raise Poison(f"the secrets of YubiKey {serial} do not open with this service's secret") from None
        return _DOCUMENT.validate_json(opened)

    async def write(self, serial: str, secrets: DeviceSecrets) -> DeviceSecrets:
        """Writes the secrets, and returns them."""
        sealed = self._sealing.seal(_DOCUMENT.dump_json(secrets), serial)
        if self._leases is not None:
            await self._leases.put(int(serial), _name(serial), sealed)
        else:
            before = await self._bucket.get(_name(serial))
            await self._bucket.put(_name(serial), sealed, before.revision if before else 0)
        return secrets

    async def change(self, serial: str, **changes: object) -> DeviceSecrets:
        """Reads the secrets, applies *changes*, and writes them."""
        return await self.write(serial, replace(await self.read(serial), **changes))  # type: ignore[arg-type] # fields by name


def _name(serial: str) -> str:
    return f"{serial}.secrets"
