"""The YubiKey service on a real server: commands without headers, and their events."""

import asyncio
import base64
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.yubikey.piv.slots import pem
from services.yubikey.service import yubikey_service
from tests.support.service_client import ServiceClient, running
from tests.support.settings import yubikey_settings
from tests.support.yubikeys import SERIAL, certify

AT = {"serial": str(SERIAL), "slot": "9a"}


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    return yubikey_settings(server.url, tmp_path / "yubikey", bytes(range(32)), virtual_serials=(SERIAL,))


IGNORED = ("yubikey.inserted", "yubikey.removed")
"""Events of the world, not outcomes of commands."""


async def generated(service, **rest):
    body = {**AT, "algorithm": "ec-p256", **rest}
    return await service.accepted("yubikey.generate-key", body, "yubikey.slot-populated")


async def refused(service, verb, body):
    rejection = await service.rejected(f"yubikey.{verb}", body)
    return rejection["code"], rejection["message"]


@pytest.fixture(name="service")
async def _service(client, settings):
    service = await ServiceClient(client, ignored=IGNORED).connect()
    async with running(yubikey_service(settings)):
        yield service


async def test_a_device_is_provisioned(service):
    populated = await generated(service, pin_policy="once", touch_policy="never")
    assert populated["simulated"] is True
    assert (populated["provenance"], populated["replaced"]) == ("on-device", False)
    assert populated["attestation"].count("BEGIN CERTIFICATE") == 2

    kind, attested = await service.request("yubikey.attest", AT)
    assert kind == "yubikey.attested"
    assert (attested["firmware"], attested["pin_policy"], attested["touch_policy"]) == ("5.7.4", "once", "never")
    assert attested["public_key_pem"] == populated["public_key_pem"]

    certificate = certify(load_pem_public_key(populated["public_key_pem"].encode()))
    kind, imported = await service.request("yubikey.import-certificate", {**AT, "certificate_pem": pem(certificate)})
    assert kind == "yubikey.certificate-imported"

    expected = {"fingerprint_sha256": imported["fingerprint_sha256"]}
    kind, verified = await service.request("yubikey.verify-slot", {**AT, **expected})
    assert kind == "yubikey.slot-verified"
    assert x509.load_pem_x509_certificate(verified["certificate_pem"].encode()) == certificate

    kind, cleared = await service.request("yubikey.clear-slot", {**AT, "key_id": populated["key_id"]})
    assert (kind, cleared["cleared"]) == ("yubikey.slot-cleared", True)
    assert await refused(service, "verify-slot", AT) == ("conflict", "slot 9a of YubiKey 42000001 has no key")


async def test_an_import_is_prepared(service):
    kind, prepared = await service.request("yubikey.prepare-import", AT)

    assert kind == "yubikey.import-prepared"
    assert len(base64.b64decode(prepared["recipient_public_key"])) == 32


async def test_a_saga_undoes_what_it_does_not_know_to_be_done(service):
    key_id = str(uuid4())

    kind, cleared = await service.request("yubikey.clear-slot", {**AT, "key_id": key_id})
    assert (kind, cleared["cleared"]) == ("yubikey.slot-cleared", False)
    code, message = await refused(service, "generate-key", {**AT, "algorithm": "ec-p256", "key_id": key_id})

    assert code == "conflict"
    assert "undone before it arrived" in message


async def test_a_command_told_again_is_answered_once(service):
    command_id = str(uuid4())
    headers = {"CIM-Command-Id": command_id}
    body = {**AT, "algorithm": "ec-p256"}

    kind, _ = await service.request("yubikey.generate-key", body, command_id=command_id)
    assert kind == "yubikey.slot-populated"
    await service.publish("yubikey.generate-key", body, **headers)

    with pytest.raises(TimeoutError):
        await service.next_event(within_s=0.5)


async def test_what_cannot_be_done_is_answered_and_the_service_goes_on(service):
    absent = {"serial": "7", "slot": "9a"}
    bad = [
        ("generate-key", {**absent, "algorithm": "ec-p256"}, "unavailable"),
        ("attest", absent, "unavailable"),
        ("clear-slot", absent, "unavailable"),
        ("prepare-import", absent, "unavailable"),
        ("verify-slot", AT, "conflict"),
        ("generate-key", {**AT, "algorithm": "ec-p521"}, "invalid"),
        ("generate-key", {**AT, "slot": "f9", "algorithm": "ec-p256"}, "invalid"),
        ("generate-key", {**AT, "serial": "mine", "algorithm": "ec-p256"}, "invalid"),
        ("generate-key", {**AT, "algorithm": "ec-p256", "pin": "123456"}, "invalid"),
        ("generate-key", b"{", "malformed"),
        ("import-certificate", {**AT, "certificate_pem": "-----BEGIN nothing"}, "invalid"),
        ("import-key", {**AT, "key_id": str(uuid4()), "algorithm": "ec-p256", "sealed_key": "bm8="}, "invalid"),
        ("dance", AT, "unknown-command"),
    ]

    codes = [(await refused(service, verb, body))[0] for verb, body, _ in bad]

    assert codes == [code for *_, code in bad]
    await generated(service)


async def test_an_occupied_slot_is_overwritten_only_when_asked(service):
    first = await generated(service)

    code, message = await refused(service, "generate-key", {**AT, "algorithm": "ec-p256"})
    assert (code, first["key_id"] in message) == ("conflict", True)
    assert (await generated(service, replace=True))["replaced"] is True


async def test_after_a_restart_the_device_and_its_history_are_known(client, settings):
    service = await ServiceClient(client, ignored=IGNORED).connect()
    async with running(yubikey_service(settings)):
        populated = await generated(service)
    async with running(yubikey_service(settings)):
        kind, attested = await service.request("yubikey.attest", AT)
        assert attested["public_key_pem"] == populated["public_key_pem"], kind
        key_id = populated["key_id"]
        kind, _ = await service.request("yubikey.generate-key", {**AT, "algorithm": "ec-p256", "key_id": key_id})
        assert kind == "command.repeated"


async def test_many_slots_are_asked_for_at_once(service):
    slots = ["9a", "9c", "9d", "9e", *(f"{number:02x}" for number in range(0x82, 0x96))]
    bodies = [{**AT, "slot": slot, "algorithm": "ec-p256"} for slot in slots]
    await asyncio.gather(*(service.publish("yubikey.generate-key", body) for body in bodies))

    heard = [await service.next_event() for _ in slots]

    assert {kind for kind, _ in heard} == {"yubikey.slot-populated"}
    assert {event["slot"] for _, event in heard} == set(slots)


async def test_ml_dsa_is_refused_at_once_whether_the_key_is_to_be_made_or_imported(service):
    sealed = base64.b64encode(b"sealed").decode()

    to_generate = await refused(service, "generate-key", {**AT, "algorithm": "ml-dsa-65"})
    body = {**AT, "algorithm": "ml-dsa-65", "key_id": str(uuid4()), "sealed_key": sealed}
    to_import = await refused(service, "import-key", body)

    assert to_generate == to_import == ("invalid", "YubiKeys do not support ml-dsa-65: use the key service")
    await generated(service)  # and the slot is as empty as before
