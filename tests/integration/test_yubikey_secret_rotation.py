"""Rotation of the service's secret: documents sealed with the previous one open, and are sealed again."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from services.yubikey.service import yubikey_service
from services.yubikey.state.credentials import PURPOSE, Credentials, DeviceSecrets
from services.yubikey.state.intents import BUCKET
from services.yubikey.state.leases import Holder, Leases
from services.yubikey.state.rotation import reseal_documents
from services.yubikey.state.sealing import DocumentSealing
from shared.errors import Poison, Unusable
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.device_client import SERIAL, DeviceClient
from tests.support.service_client import running
from tests.support.settings import yubikey_settings
from tests.support.waiting import until

BEFORE, NOW = bytes(range(32)), bytes(range(1, 33))
DONE = "the previous secret can be removed"


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    return yubikey_settings(server.url, tmp_path / "yubikey", BEFORE, virtual_serials=(SERIAL,))


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), BUCKET)


@asynccontextmanager
async def serving(client, settings):
    service = await DeviceClient(client).connect()
    async with running(yubikey_service(settings)):
        yield service


@pytest.fixture(name="pin")
async def _pin(client, settings):
    """The PIN of a device that was provisioned under the previous secret."""
    async with serving(client, settings) as talk:
        await talk.assigned()
        await talk.done("provisioned", "provision", role="person")
        return await talk.released("pin")


def changing(settings):
    return settings.model_copy(update={"secret": NOW, "previous_secret": BEFORE})


async def test_all_opens_while_both_are_given_and_afterwards_the_new_one_is_enough(client, settings, pin, caplog):
    caplog.set_level(logging.INFO)
    async with serving(client, changing(settings)) as talk:
        assert await talk.released("pin") == pin
        await until(lambda: DONE in caplog.text)

    async with serving(client, settings.model_copy(update={"secret": NOW})) as talk:
        assert await talk.released("pin") == pin
        await talk.done("pin-configured", "configure-pin")


async def test_a_secret_that_opens_nothing_is_not_worked_with(client, settings, pin):
    assert pin
    elsewhere = settings.model_copy(update={"virtual_serials": (), "secret": NOW})

    with pytest.raises(
        Unusable, match=r"opens the stored secrets of none of the 1 YubiKeys.*YUBIKEY_PREVIOUS_SECRET_FILE"
    ):
        async with serving(client, elsewhere):
            pass


async def test_the_one_before_is_of_no_use_any_more(client, settings, pin, caplog):
    caplog.set_level(logging.INFO)
    async with serving(client, changing(settings)):
        await until(lambda: DONE in caplog.text)

    assert pin
    with pytest.raises(Unusable, match="opens the stored secrets of none"):
        async with serving(client, settings):
            pass


async def test_a_device_in_other_hands_is_left_to_them_until_they_give_it_up(bucket, caplog):
    caplog.set_level(logging.INFO)
    ours, theirs = [Leases(bucket, Holder(name, name, name), 30.0) for name in ("ours", "theirs")]
    await theirs.acquire(SERIAL)
    old, both = DocumentSealing(BEFORE, PURPOSE), DocumentSealing(NOW, PURPOSE, BEFORE)
    await Credentials(bucket, old).write(str(SERIAL), DeviceSecrets(pin="739154"))

    async with asyncio.TaskGroup() as group:
        group.create_task(reseal_documents(bucket, both, ours))
        await until(lambda: "1 YubiKeys that other processes lease" in caplog.text)
        assert (await Credentials(bucket, old).read(str(SERIAL))).pin == "739154"
        await theirs.release(SERIAL)

    assert DONE in caplog.text
    assert (await Credentials(bucket, DocumentSealing(NOW, PURPOSE)).read(str(SERIAL))).pin == "739154"
    with pytest.raises(Poison):
        await Credentials(bucket, old).read(str(SERIAL))


async def test_one_that_was_altered_is_named_and_stops_nobody(client, bucket, settings, pin, caplog):
    await bucket.put("7.secrets", b"neither the one nor the other", 0)
    caplog.set_level(logging.INFO)

    async with serving(client, changing(settings)) as talk:
        assert await talk.released("pin") == pin
        await until(lambda: DONE in caplog.text)

    assert "no configured secret opens the stored secrets of YubiKey 7" in caplog.text
