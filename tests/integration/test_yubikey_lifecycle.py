"""The life of a device over the wire: registered, assigned, provisioned, used, lost, found, reset, retired."""

import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from yubikit.piv import SLOT, PivSession

from services.virtual_yubikey import VirtualYubiKeys
from services.yubikey.service import yubikey_service
from services.yubikey.state.sealing import SUITE
from shared.contracts.yubikey.slot_operations import plaintext_info
from shared.messages.ids import new_id
from tests.support.device_client import READER, RECIPIENT, DeviceClient
from tests.support.in_process_suite import SECRET, ControllableDevices
from tests.support.service_client import running
from tests.support.settings import yubikey_settings

SERIAL, OLD = 42000001, 42000002
ROLES = """
[use]
sign = ["9a", "9c"]
decrypt = ["9d"]
[roles.person]
pin_retries = 5
puk_retries = 4
puk = "escrow"
management_key = "service"
slots = [{ slot = "9a", algorithm = "ed25519", fallback = "ec-p256", pin_policy = "once", touch_policy = "never" }]
[roles.ca]
pin_retries = 3
puk_retries = 3
puk = "block"
management_key = "device"
slots = [{ slot = "9c", algorithm = "ec-p384", pin_policy = "always", touch_policy = "always" }]
"""


@pytest.fixture(name="yubikeys")
def _yubikeys(tmp_path):
    yubikeys = VirtualYubiKeys(tmp_path / "virtual", SECRET, [SERIAL])
    yubikeys.plug_in(OLD, (5, 4, 3))
    return yubikeys


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    (tmp_path / "roles.toml").write_text(ROLES)
    return yubikey_settings(
        server.url, tmp_path / "yubikey", SECRET, roles_file=tmp_path / "roles.toml", patience_s=1.0
    )


def serving(settings, yubikeys):
    return running(yubikey_service(settings, lambda _: [ControllableDevices(yubikeys)]))


@pytest.fixture(name="talk")
async def _talk(client, settings, yubikeys):
    service = await DeviceClient(client).connect()
    async with serving(settings, yubikeys):
        yield service


def session(yubikeys, serial=SERIAL):
    return PivSession(yubikeys.open(serial))


async def test_a_new_device_is_described(talk):
    told = await talk.done("detected", "detect")

    assert (told["firmware"], told["pin_retries"], told["puk_retries"]) == ("5.7.4", 3, 3)
    assert (told["default_pin"], told["default_puk"], told["default_management_key"]) == (True, True, True)
    assert told["management_key_algorithm"] == "aes-192"
    assert told["applications"] == ["PIV"]
    assert (told["slots"], told["simulated"], told["fips"]) == ([], True, False)


async def test_a_device_is_made_ready_for_a_role(talk, yubikeys):
    assert (await talk.refused("provision", role="person"))[0] == "conflict"
    await talk.assigned()
    code, message = await talk.refused("provision", role="king")
    assert (code, "ca, person" in message) == ("not-found", True)

    told = await talk.done("provisioned", "provision", role="person")
    assert (told["pin_retries"], told["puk_retries"], told["puk"]) == (5, 4, "escrow")
    assert (told["management_key_algorithm"], told["management_key_held_by"]) == ("aes-192", "service")
    (plan,) = told["slots"]
    assert (plan["slot"], plan["algorithm"], plan["fallback"]) == ("9a", "ed25519", False)

    pin, puk, key = [await talk.released(secret) for secret in ("pin", "puk", "management-key")]
    opened = session(yubikeys)
    opened.verify_pin(pin)
    opened.authenticate(bytes.fromhex(key))
    opened.change_puk(puk, puk)
    assert opened.get_pin_metadata().total_attempts == 5
    assert opened.get_object(0x5FC102)
    detected = await talk.done("detected", "detect")
    assert (detected["default_pin"], detected["default_puk"], detected["default_management_key"]) == (False,) * 3

    await talk.done("provisioned", "provision", role="person")  # nothing is missing: nothing is changed
    assert await talk.released("pin") == pin


async def test_a_role_may_block_the_puk_and_leave_the_management_key_on_the_device(talk, yubikeys):
    await talk.assigned()
    told = await talk.done("provisioned", "provision", role="ca")
    assert (told["puk"], told["management_key_held_by"]) == ("block", "device")
    assert session(yubikeys).get_puk_metadata().attempts_remaining == 0
    assert (await talk.refused("release-secret", secret="management-key", recipient_public_key=RECIPIENT))[
        0
    ] == "not-found"

    populated = await talk.done("slot-populated", "generate-key", slot="9c", algorithm="ec-p384")
    assert populated["algorithm"] == "ec-p384"


async def test_an_older_device_gets_what_it_can_do(talk):
    planned = await talk.done("slots-planned", "plan-slots", OLD, role="person")
    assert (planned["firmware"], planned["slots"][0]["algorithm"], planned["slots"][0]["fallback"]) == (
        "5.4.3",
        "ec-p256",
        True,
    )
    await talk.assigned(OLD)
    told = await talk.done("provisioned", "provision", OLD, role="person")
    assert told["management_key_algorithm"] == "aes-192"


async def test_a_person_chooses_a_pin_and_it_is_unblocked_when_it_was_forgotten(talk, yubikeys):
    await talk.done("puk-configured", "configure-puk")
    for bad in ("123456", "111111", "234567", "12345"):
        code, message = await talk.refused("configure-pin", sealed_pin=await talk.sealed("pin", bad))
        assert (code, bad in message) == ("invalid", False)
    assert (await talk.refused("configure-pin", sealed_pin="bm8="))[0] == "invalid"
    told = await talk.done("pin-configured", "configure-pin", sealed_pin=await talk.sealed("pin", "739154"))
    assert told["retries"] == 3
    session(yubikeys).verify_pin("739154")

    for _ in range(3):
        with pytest.raises(ValueError, match="PIN"):
            session(yubikeys).verify_pin("000000")
    assert (await talk.done("detected", "detect"))["pin_retries"] == 0
    assert "blocked" in (await talk.refused("configure-pin"))[1]
    assert (await talk.done("unlocked", "unblock-pin"))["retries"] == 3
    session(yubikeys).verify_pin(await talk.released("pin"))


async def test_tries_are_set_and_what_was_set_before_holds(talk, yubikeys):
    await talk.done("pin-configured", "configure-pin")
    await talk.done("puk-configured", "configure-puk")
    pin, puk = await talk.released("pin"), await talk.released("puk")
    await talk.done("retries-set", "set-retries", pin_retries=7, puk_retries=8)

    opened = session(yubikeys)
    opened.verify_pin(pin)
    opened.change_puk(puk, puk)
    assert (opened.get_pin_metadata().total_attempts, opened.get_puk_metadata().total_attempts) == (7, 8)


async def test_secrets_of_a_device_that_was_set_up_elsewhere_are_taken_over(talk, yubikeys):
    opened = session(yubikeys)
    opened.change_pin("123456", "864209")
    opened.change_puk("12345678", "97531864")
    code, message = await talk.refused("configure-pin")
    assert (code, "adopt-secrets" in message) == ("not-allowed", True)
    wrong = await talk.sealed("pin", "555777")
    assert (await talk.refused("adopt-secrets", sealed_pin=wrong))[0] == "not-allowed"
    assert (await talk.refused("adopt-secrets", sealed_pin=wrong))[1].endswith("unblock-pin")  # one try is left alone

    opened.verify_pin("864209")
    both = {"sealed_pin": await talk.sealed("pin", "864209"), "sealed_puk": await talk.sealed("puk", "97531864")}
    assert (await talk.done("secrets-adopted", "adopt-secrets", **both))["adopted"] == ["pin", "puk"]
    await talk.done("pin-configured", "configure-pin")
    assert await talk.released("puk") == "97531864"


async def test_the_management_key_is_drawn_anew(talk, yubikeys):
    first = await talk.done("management-key-rotated", "rotate-management-key", algorithm="aes-256")
    one = await talk.released("management-key")
    await talk.done("management-key-rotated", "rotate-management-key")
    other = await talk.released("management-key")

    assert (first["algorithm"], len(one), len(other), one != other) == ("aes-256", 64, 48, True)
    session(yubikeys).authenticate(bytes.fromhex(other))


async def test_a_slots_key_makes_requests_and_signs(talk):
    await talk.done("slot-populated", "generate-key", slot="9a", algorithm="ec-p256", pin_policy="once")
    created = await talk.done(
        "csr-created", "create-csr", slot="9a", subject={"common_name": "Alice", "email": "a@b.c"}
    )
    request = x509.load_pem_x509_csr(created["csr_pem"].encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=Alice"

    message = base64.b64encode(b"a message").decode()
    wish = {"slot": "9a", "message": message, "signature_algorithm": "ecdsa-sha256"}
    signed = await talk.done("signature-created", "sign", **wish)
    key = load_pem_public_key(signed["public_key_pem"].encode())
    key.verify(base64.b64decode(signed["signature"]), b"a message", ec.ECDSA(hashes.SHA256()))
    assert "makes no ed25519" in (await talk.refused("sign", **{**wish, "signature_algorithm": "ed25519"}))[1]
    assert (await talk.refused("sign", **{**wish, "slot": "9d"}))[0] == "not-allowed"


@pytest.mark.parametrize("algorithm", ["rsa-2048", "ec-p256"])
async def test_what_is_decrypted_only_the_recipient_reads(talk, algorithm):
    populated = await talk.done("slot-populated", "generate-key", slot="9d", algorithm=algorithm)
    key = load_pem_public_key(populated["public_key_pem"].encode())
    if algorithm == "rsa-2048":
        secret = b"a secret"
        asked = {"ciphertext": base64.b64encode(key.encrypt(secret, padding.PKCS1v15())).decode()}
    else:
        mine = ec.generate_private_key(ec.SECP256R1())
        secret = mine.exchange(ec.ECDH(), key)
        pem = mine.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        asked = {"peer_public_key_pem": pem}
    told = await talk.done("decrypted", "decrypt", slot="9d", recipient_public_key=RECIPIENT, **asked)

    sealed = base64.b64decode(told["sealed_plaintext"])
    assert SUITE.decrypt(sealed, READER, plaintext_info(str(SERIAL), "9d")) == secret


async def test_a_key_is_moved_with_its_certificate(talk, yubikeys):
    await talk.done("slot-populated", "generate-key", slot="9a", algorithm="ec-p256")
    await talk.done("slot-moved", "move-key", slot="9a", to="82")
    assert session(yubikeys).get_slot_metadata(SLOT.RETIRED1).generated
    assert (await talk.refused("move-key", slot="9a", to="83"))[0] == "conflict"


async def test_a_sealed_device_is_not_changed(talk):
    await talk.done("slot-populated", "generate-key", slot="9a", algorithm="ec-p256")
    sealed = await talk.done("sealed", "seal")
    assert sealed["config_sha256"] == (await talk.done("detected", "detect"))["config_sha256"]
    for verb, body in (("generate-key", {"slot": "9c", "algorithm": "ec-p256"}), ("clear-slot", {"slot": "9a"})):
        code, message = await talk.refused(verb, **body)
        assert (code, "sealed" in message) == ("conflict", True)
    await talk.done("unsealed", "unseal", reason="another certificate")
    await talk.done("slot-cleared", "clear-slot", slot="9a")


async def test_a_lost_device_gets_nothing_until_it_is_found_and_reset(talk):
    await talk.assigned()
    await talk.done("provisioned", "provision", role="person")
    await talk.done("slot-populated", "generate-key", slot="9a", algorithm="ec-p256")
    lost = await talk.done("lost", "report-lost", location="a train")
    assert lost["person_id"] == "alice@acme.example"
    code, message = await talk.refused("generate-key", slot="9c", algorithm="ec-p256")
    assert (code, "lost" in message) == ("conflict", True)

    await talk.done("reset", "reset")
    detected = await talk.done("detected", "detect")
    assert (detected["default_pin"], detected["slots"]) == (True, [])
    await talk.done("slot-populated", "generate-key", slot="9c", algorithm="ec-p256")
    await talk.done("transferred", "transfer", person_id="bob@acme.example")
    await talk.done("assignment-revoked", "unassign", reason="left")
    await talk.done("deregistered", "deregister")
    await talk.done("retired", "retire", reason="damaged")
    assert "retired" in (await talk.refused("register", label="A-17"))[1]


async def test_a_command_told_again_is_answered_once_and_does_it_once(talk):
    command_id = str(new_id())
    await talk.ask("configure-pin", command_id=command_id)
    pin = await talk.released("pin")
    kind, _ = await talk.ask("release-secret", secret="pin", recipient_public_key=RECIPIENT)
    assert kind == "yubikey.secret-released"
    assert await talk.released("pin") == pin


async def test_secrets_are_in_no_message_and_in_no_bucket_in_the_clear(talk, client):
    await talk.assigned()
    await talk.done("provisioned", "provision", role="person")
    secrets = [await talk.released(secret) for secret in ("pin", "puk", "management-key")]
    js = client.jetstream()
    for info in await js.streams_info():
        for sequence in range(info.state.first_seq or 1, info.state.last_seq + 1):
            try:
                message = await js.get_msg(info.config.name, seq=sequence)
            except Exception:  # noqa: BLE001, S112 - it was overwritten, or acknowledged
                continue
            everything = (message.data or b"") + json.dumps(message.headers or {}).encode()
            assert not any(secret.encode() in everything for secret in secrets), message.subject
