"""The main job, by the whole suite: a CA from nothing, and certificates on YubiKeys, of every purpose and origin."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tests.support.certificate_linting import findings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOTS = {"authentication": "9a", "digital-signature": "9c", "key-management": "9d", "card-authentication": "9e"}
SERIAL_OF = {"on-device": "42000001", "imported": "42000002"}
EVERYTHING = [(purpose, origin) for origin in SERIAL_OF for purpose in SLOTS]


@pytest.fixture(scope="module", name="provisioned")
def _provisioned():
    return {}


async def provisioned_once(suite, provisioned, purpose, origin):
    """The completed body of this module's provisioning of that kind; it is done when it is first asked for."""
    if (purpose, origin) not in provisioned:
        wish = {"purpose": purpose, "key_origin": origin, "yubikey_serial": SERIAL_OF[origin]}
        end = await suite.end_of(await suite.provision(**wish))
        assert end.tokens[4] == "completed", end.body
        provisioned[purpose, origin] = end.body
    return provisioned[purpose, origin]


def certificate_of(pem):
    return x509.load_pem_x509_certificate(pem.encode())


async def test_bootstrap_leads_to_a_root_and_an_intermediate_that_it_issued(suite):
    body = suite.bootstrapped.body
    root, intermediate = (certificate_of(body[f"{tier}_certificate_pem"]) for tier in ("root", "intermediate"))

    root.verify_directly_issued_by(root)
    intermediate.verify_directly_issued_by(root)
    for tier, certificate in (("root", root), ("intermediate", intermediate)):
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        (signed,) = await suite.events(f"keys.events.certificate.signed.{body[f'{tier}_certificate_id']}")
        assert certificate_of(signed.body["certificate_pem"]) == certificate


@pytest.mark.parametrize(("purpose", "origin"), EVERYTHING)
async def test_provisioning_completes_with_what_the_contract_says(suite, provisioned, purpose, origin):
    body = await provisioned_once(suite, provisioned, purpose, origin)

    heading = {"saga_id", "saga_type", "sequence"}
    assert set(body) == heading | {"key_id", "certificate_id", "slot", "fingerprint_sha256", "certificate_pem"}
    assert body["slot"] == SLOTS[purpose]
    der = certificate_of(body["certificate_pem"]).public_bytes(Encoding.DER)
    assert body["fingerprint_sha256"] == sha256(der).hexdigest()


@pytest.mark.parametrize(("purpose", "origin"), EVERYTHING)
async def test_the_device_holds_the_very_certificate_and_the_key_that_it_is_about(suite, provisioned, purpose, origin):
    body = await provisioned_once(suite, provisioned, purpose, origin)

    seen = await suite.sees_in_slot(SERIAL_OF[origin], SLOTS[purpose])

    assert seen.tokens[2:4] == ["yubikey", "slot-verified"]
    certificate = certificate_of(body["certificate_pem"])
    assert certificate_of(seen.body["certificate_pem"]) == certificate
    assert load_pem_public_key(seen.body["public_key_pem"].encode()) == certificate.public_key()
    assert (seen.body["fingerprint_sha256"], seen.body["simulated"]) == (body["fingerprint_sha256"], True)


@pytest.mark.parametrize(("purpose", "origin"), EVERYTHING)
async def test_the_key_was_made_where_it_was_asked_for(suite, provisioned, purpose, origin):
    body = await provisioned_once(suite, provisioned, purpose, origin)
    populated = await _of_saga(suite, body, "yubikey.slot-populated")
    of_key = await suite.events(f"keys.events.key.*.{body['key_id']}")

    assert [(event.body["provenance"], event.body["key_id"]) for event in populated] == [(origin, body["key_id"])]
    if origin == "on-device":
        assert populated[0].body["attestation"]
        assert of_key == []
    else:
        end = "escrowed" if purpose == "key-management" else "destroyed"
        assert [event.tokens[3] for event in of_key] == ["generated", "exported", end]


async def test_the_software_copy_of_an_imported_signing_key_signs_nothing_any_more(suite, provisioned):
    for purpose in ("digital-signature", "key-management"):
        body = await provisioned_once(suite, provisioned, purpose, "imported")
        wish = {"key_id": body["key_id"], "message": "aGVsbG8=", "signature_algorithm": "ecdsa-sha256"}

        refused = await suite.ask("key.sign", {**wish, "purpose": purpose})

        assert (refused.tokens[3], refused.body["code"]) == ("rejected", "conflict")


async def test_an_escrowed_key_can_be_brought_onto_another_device(suite, provisioned):
    body = await provisioned_once(suite, provisioned, "key-management", "imported")
    spare = {"serial": "42000003", "slot": "9d"}

    prepared = await suite.ask("yubikey.prepare-import", spare)
    recipient = {"recipient_public_key": prepared.body["recipient_public_key"]}
    exported = await suite.ask("key.export", {"key_id": body["key_id"], **recipient})
    of_key = {"key_id": body["key_id"], "algorithm": "ec-p256", "sealed_key": exported.body["sealed_key"]}
    populated = await suite.ask("yubikey.import-key", {**spare, **of_key})

    public_key = certificate_of(body["certificate_pem"]).public_key()
    assert load_pem_public_key(populated.body["public_key_pem"].encode()) == public_key


@pytest.mark.parametrize(("purpose", "origin"), EVERYTHING)
async def test_openssl_if_it_is_here_or_else_cryptography_verifies_the_chain(
    suite, provisioned, tmp_path, purpose, origin
):
    body = await provisioned_once(suite, provisioned, purpose, origin)
    pems = [*suite.chain, body["certificate_pem"]]
    if (openssl := shutil.which("openssl")) is None:
        root, intermediate, leaf = map(certificate_of, pems)
        leaf.verify_directly_issued_by(intermediate)
        intermediate.verify_directly_issued_by(root)
        return
    for name, pem in zip(("root", "intermediate", "leaf"), pems, strict=True):
        (tmp_path / name).write_text(pem)

    verified = subprocess.run(  # noqa: ASYNC221 - nothing else runs here meanwhile
        [openssl, "verify", "-x509_strict", "-CAfile", "root", "-untrusted", "intermediate", "leaf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stdout.strip()) == (0, "leaf: OK"), verified.stderr


async def test_pkilint_finds_nothing_on_root_intermediate_and_every_leaf(suite, provisioned):
    root, intermediate = suite.chain
    assert findings(root, root) == []
    assert findings(intermediate, root) == []
    for purpose, origin in EVERYTHING:
        body = await provisioned_once(suite, provisioned, purpose, origin)
        assert findings(body["certificate_pem"], intermediate) == []


@pytest.mark.parametrize("origin", SERIAL_OF)
async def test_an_occupied_slot_is_refused_and_left_as_it_was(suite, provisioned, origin):
    body = await provisioned_once(suite, provisioned, "authentication", origin)

    end = await suite.end_of(await suite.provision(key_origin=origin, yubikey_serial=SERIAL_OF[origin]))

    assert end.tokens[4] == "compensated"
    assert "conflict" in end.body["reason"]
    assert "replace" in end.body["reason"]
    seen = await suite.sees_in_slot(SERIAL_OF[origin], "9a")
    assert seen.body["fingerprint_sha256"] == body["fingerprint_sha256"]


@pytest.mark.parametrize("origin", SERIAL_OF)
async def test_with_replace_an_occupied_slot_gets_the_new_key_and_certificate(suite, origin):
    where = {"yubikey_serial": "42000004", "key_origin": origin, "purpose": "digital-signature"}
    first, second = [await suite.end_of(await suite.provision(**where, replace=True)) for _ in range(2)]

    assert [first.tokens[4], second.tokens[4]] == ["completed", "completed"]
    assert first.body["key_id"] != second.body["key_id"]
    seen = await suite.sees_in_slot("42000004", "9c")
    assert seen.body["fingerprint_sha256"] == second.body["fingerprint_sha256"]
    (populated,) = await _of_saga(suite, second.body, "yubikey.slot-populated")
    assert populated.body["replaced"] is True


@pytest.mark.parametrize("algorithm", ["rsa-2048", "ec-p384", "ed25519"])
@pytest.mark.parametrize("origin", SERIAL_OF)
async def test_a_key_of_any_algorithm_goes_into_any_slot(suite, algorithm, origin):
    slot = {"rsa-2048": "82", "ec-p384": "83", "ed25519": "95"}[algorithm]
    wish = {"algorithm": algorithm, "slot": slot, "key_origin": origin, "yubikey_serial": SERIAL_OF[origin]}

    end = await suite.end_of(await suite.provision(**wish))

    assert (end.tokens[4], end.body.get("slot")) == ("completed", slot), end.body
    seen = await suite.sees_in_slot(SERIAL_OF[origin], slot)
    public_key = certificate_of(end.body["certificate_pem"]).public_key()
    spki = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert seen.body["public_key_pem"].strip() == spki.strip()


async def _of_saga(suite, body, kind):
    return [
        event
        for event in await suite.events(f"keys.events.{kind}.*")
        if event.headers.get("CIM-Saga-Id") == body["saga_id"]
    ]
