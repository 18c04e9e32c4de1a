"""Power cuts at each APDU of a secret command: a retry has the same result, and all secrets are stored."""

from __future__ import annotations

import pytest
from yubikit.piv import PivSession

from services.virtual_yubikey import VirtualYubiKeys
from services.virtual_yubikey.faults import PowerCut, at_apdu
from services.yubikey.core.effects import AtDevice, EffectDone, EffectFailed
from services.yubikey.performer.devices import DeviceConfiguration, DevicePerformer
from services.yubikey.roles import read_roles
from services.yubikey.state.credentials import PURPOSE, Credentials, DeviceSecrets
from services.yubikey.state.intents import Intents
from services.yubikey.state.sealing import DocumentSealing, SealingKey
from shared.contracts.yubikey.devices import (
    KeyHolder,
    ProvisionYubiKey,
    PukPolicy,
    ResetYubiKey,
)
from shared.contracts.yubikey.secrets import ConfigurePin, ConfigurePuk, RotateManagementKey, SetRetries, UnblockPin
from shared.errors import Transient
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.in_process_suite import SECRET, ControllableDevices

SERIAL, NAME = 42_000_001, "42000001"
COMMANDS = {
    "provision": ProvisionYubiKey(serial=NAME, role="person"),
    "provision, PUK blocked": ProvisionYubiKey(serial=NAME, role="root-ca"),
    "configure-pin": ConfigurePin(serial=NAME),
    "configure-puk": ConfigurePuk(serial=NAME),
    "block the PUK": ConfigurePuk(serial=NAME, policy=PukPolicy.BLOCK),
    "rotate-management-key": RotateManagementKey(serial=NAME),
    "rotate it onto the device": RotateManagementKey(serial=NAME, held_by=KeyHolder.DEVICE),
    "set-retries": SetRetries(serial=NAME, pin_retries=6, puk_retries=7),
    "unblock-pin": UnblockPin(serial=NAME),
    "reset": ResetYubiKey(serial=NAME),
}
BEFORE = {"unblock-pin": "configure-puk", "set-retries": "provision", "reset": "provision"}
"""Commands that run first, without a fault."""


class Bench:
    def __init__(self, directory, js):
        self.yubikeys = VirtualYubiKeys(directory, SECRET, [SERIAL])
        bucket = KeyValue(js, "KEYS_DEVICES")
        self.credentials = Credentials(bucket, DocumentSealing(bytes(32), PURPOSE))
        keeping = DeviceConfiguration(self.credentials, read_roles(None))
        self._service = DevicePerformer(
            [ControllableDevices(self.yubikeys)], Intents(bucket), SealingKey(SECRET), keeping
        )

    async def ask(self, which, operation_id="op"):
        """Delivers the command until it has an outcome."""
        for _ in range(12):
            try:
                return await self._service.perform(AtDevice(NAME, operation_id, COMMANDS[which]))
            except Transient:
                continue
        raise AssertionError("it is never answered")

    async def holds_what_it_says(self):
        secrets, session = await self.credentials.read(NAME), PivSession(self.yubikeys.open(SERIAL))
        pin = session.get_pin_metadata()
        assert pin.default_value is (secrets.pin is None)
        if secrets.pin is not None:
            session.verify_pin(secrets.pin)
        puk = session.get_puk_metadata()
        if secrets.puk_policy is PukPolicy.BLOCK:
            assert puk.attempts_remaining == 0
        else:
            assert puk.default_value is (secrets.puk is None)
        if secrets.management_key is not None:
            session.authenticate(bytes.fromhex(secrets.management_key))
        assert session.get_management_key_metadata().default_value is (secrets.held_by is None)
        return pin.total_attempts, puk.total_attempts


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("which", COMMANDS)
async def test_wherever_power_is_cut(tmp_path, client, which, after):
    await declare(client)
    js, expected, number = client.jetstream(), None, None
    n = -1
    while number is None or n < number:
        bench = Bench(tmp_path / str(n + 1), js)
        await bench.credentials.write(NAME, DeviceSecrets())
        if which in BEFORE:
            assert isinstance(await bench.ask(BEFORE[which], "before"), EffectDone)
        bench.yubikeys.inject_faults(SERIAL, at_apdu(n, PowerCut(after=after)) if n >= 0 else lambda *_: None)
        outcome = await bench.ask(which)
        if isinstance(outcome, EffectFailed):  # nothing was done, and it may be asked again
            assert outcome.retryable
            outcome = await bench.ask(which, "again")
        assert isinstance(outcome, EffectDone), (n, outcome)
        number = bench.yubikeys.apdu_count(SERIAL) if number is None else number
        bench.yubikeys.inject_faults(SERIAL, None)
        state = await bench.holds_what_it_says()
        expected = state if expected is None else expected
        assert state == expected, n
        n += 1
    assert number > 3


def test_what_is_held_is_not_shown():
    held = DeviceSecrets(pin="864209", puk="97531864", management_key="a5" * 24, pending_pin="135790")
    assert not any(secret in repr(held) for secret in ("864209", "97531864", "a5a5", "135790"))
