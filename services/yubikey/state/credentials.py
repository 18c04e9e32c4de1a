"""The PIN, PUK and management key of each device, as this service keeps them: one sealed document a device.

What is to be set is written as *pending* before the device is told, so that after a crash both are known, and the
device says which of the two holds (docs/adr/0019).
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


@dataclass(frozen=True, slots=True)
class Secrets:
    """None: not known here. *pending_…*: what the device may have been given already. *done*: the last operation.

    A management key is in hexadecimal digits.
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
        """Those that the device may have, the likeliest first."""
        known = (self.pending_management_key, self.management_key)
        return tuple(bytes.fromhex(key) for key in known if key is not None)

    @property
    def pins(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pin for pin in (self.pending_pin, self.pin) if pin is not None))

    @property
    def puks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(puk for puk in (self.pending_puk, self.puk) if puk is not None))


_DOCUMENT = TypeAdapter(Secrets)


class Credentials:
    """With *leases*, only who has the device writes."""

    def __init__(self, bucket: KeyValue, sealing: DocumentSealing, leases: Leases | None = None) -> None:
        self._bucket = bucket
        self._sealing = sealing
        self._leases = leases

    async def read(self, serial: str) -> Secrets:
        """Raises Poison for what was sealed with another key: with that, another service's secret is in use."""
        document = await self._bucket.get(_name(serial))
        if document is None:
            return Secrets()
        try:
            opened, _ = self._sealing.open(document.value, serial)
        except InvalidTag:
            raise Poison(f"the secrets of YubiKey {serial} do not open with this service's secret") from None
        return _DOCUMENT.validate_json(opened)

    async def write(self, serial: str, secrets: Secrets) -> Secrets:
        sealed = self._sealing.seal(_DOCUMENT.dump_json(secrets), serial)
        if self._leases is not None:
            await self._leases.put(int(serial), _name(serial), sealed)
        else:
            before = await self._bucket.get(_name(serial))
            await self._bucket.put(_name(serial), sealed, before.revision if before else 0)
        return secrets

    async def change(self, serial: str, **changes: object) -> Secrets:
        """Write what is known with *changes*."""
        return await self.write(serial, replace(await self.read(serial), **changes))  # type: ignore[arg-type] # fields by name


def _name(serial: str) -> str:
    return f"{serial}.secrets"
