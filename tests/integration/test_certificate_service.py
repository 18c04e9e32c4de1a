"""The certificate service on a real NATS server: commands without headers, and their events."""

import asyncio
import base64
import json
import os
import sys

import pytest
from cryptography import x509

from services.certificate.service import certificate_service
from shared.contracts.key.value_types import Algorithm
from shared.messages.ids import new_id
from tests.support.in_memory_ca import private_key, public_pem, sign
from tests.support.service_client import ServiceClient, running
from tests.support.settings import certificate_settings

ROOT_KEY = private_key(Algorithm.EC_P384)
CA_KEY, LEAF_KEY = private_key(Algorithm.EC_P256), private_key(Algorithm.EC_P256, 1)


def serving(url):
    return running(certificate_service(certificate_settings(url)))


ROOT = {
    "profile": "root",
    "subject": {"common_name": "Root", "organization": "CIM"},
    "public_key_pem": public_pem(ROOT_KEY),
    "key_id": str(new_id()),
    "validity_days": 3650,
}
INTERMEDIATE = ROOT | {
    "profile": "intermediate",
    "subject": {"common_name": "Intermediate", "organization": "CIM"},
    "public_key_pem": public_pem(CA_KEY),
    "key_id": str(new_id()),
    "validity_days": 1825,
}
LEAF = {
    "profile": "authentication",
    "subject": {"common_name": "Alice", "email": "alice@example.org"},
    "public_key_pem": public_pem(LEAF_KEY),
    "validity_days": 365,
}


@pytest.fixture(name="people")
async def _people(server, client):
    async with serving(server.url):
        yield await ServiceClient(client).connect()


async def issue(people, signing_key, **body):
    created = await people.accepted("certificate.create", body, "certificate.created")
    signature = sign(signing_key, created["signature_algorithm"], base64.b64decode(created["tbs"]))
    encoded = base64.b64encode(signature).decode()
    body = {"certificate_id": created["certificate_id"], "signature": encoded}
    return await people.accepted("certificate.sign", body, "certificate.signed")


async def issue_root(people):
    return await issue(people, ROOT_KEY, **ROOT)


async def refused(people, verb, body):
    return (await people.rejected(f"certificate.{verb}", body))["code"]


def parsed(signed):
    return x509.load_pem_x509_certificate(signed["certificate_pem"].encode())


async def test_a_root_an_intermediate_and_a_leaf_are_issued_with_keys_the_service_never_sees(people):
    root = await issue_root(people)
    intermediate = await issue(people, ROOT_KEY, **INTERMEDIATE, issuer_id=root["certificate_id"])
    leaf = await issue(people, CA_KEY, **LEAF, issuer_id=intermediate["certificate_id"])

    parsed(root).verify_directly_issued_by(parsed(root))
    parsed(intermediate).verify_directly_issued_by(parsed(root))
    parsed(leaf).verify_directly_issued_by(parsed(intermediate))
    assert (leaf["profile"], leaf["issuer_id"]) == ("piv-authentication", intermediate["certificate_id"])


async def test_the_client_may_choose_the_id_and_asking_again_changes_nothing(people):
    wish = ROOT | {"certificate_id": str(new_id())}

    _, created = await people.request("certificate.create", wish)
    kind, repeated = await people.request("certificate.create", wish)

    assert created["certificate_id"] == repeated["aggregate_id"] == wish["certificate_id"]
    assert kind == "command.repeated"


async def test_bad_commands_are_answered_with_what_is_wrong_and_the_service_goes_on(people):
    nobody = str(new_id())
    _, created = await people.request("certificate.create", ROOT)
    known = created["certificate_id"]
    wrong = base64.b64encode(sign(CA_KEY, "ecdsa-sha256", b"something else")).decode()

    assert await refused(people, "create", b"{") == "malformed"
    assert await refused(people, "create", ROOT | {"colour": "red"}) == "invalid"
    assert await refused(people, "create", ROOT | {"issuer_id": known}) == "invalid"
    assert await refused(people, "create", ROOT | {"public_key_pem": "-----BEGIN NONSENSE-----"}) == "invalid"
    assert await refused(people, "create", ROOT | {"certificate_id": known, "key_id": nobody}) == "conflict"
    assert await refused(people, "create", LEAF) == "invalid"
    assert await refused(people, "create", LEAF | {"issuer_id": nobody}) == "not-found"
    assert await refused(people, "create", LEAF | {"issuer_id": known}) == "conflict"
    assert await refused(people, "sign", {"certificate_id": nobody, "signature": wrong}) == "not-found"
    assert await refused(people, "sign", {"certificate_id": known, "signature": wrong}) == "invalid"
    assert await refused(people, "revoke", {"certificate_id": nobody}) == "not-found"
    assert (await issue_root(people))["profile"] == "root"


async def test_a_leaf_issues_nothing(people):
    root = await issue_root(people)
    leaf = await issue(people, ROOT_KEY, **LEAF, issuer_id=root["certificate_id"])

    other = LEAF | {"public_key_pem": public_pem(CA_KEY), "issuer_id": leaf["certificate_id"]}

    assert await refused(people, "create", other) == "not-allowed"


async def test_a_revoked_authority_issues_nothing_more(people):
    root = await issue_root(people)
    kind, revoked = await people.request(
        "certificate.revoke", {"certificate_id": root["certificate_id"], "reason": "key-compromise"}
    )
    assert (kind, revoked["serial"]) == ("certificate.revoked", root["serial"])

    assert await refused(people, "create", LEAF | {"issuer_id": root["certificate_id"]}) == "conflict"


async def test_a_voided_id_is_never_used(people):
    voided = str(new_id())
    kind, revoked = await people.request("certificate.revoke", {"certificate_id": voided, "void_if_absent": True})
    assert (kind, revoked["existed"]) == ("certificate.revoked", False)

    assert await refused(people, "create", ROOT | {"certificate_id": voided}) == "conflict"


async def test_another_process_finds_everything_where_the_first_one_left_it(server, client):
    async with serving(server.url):
        people = await ServiceClient(client).connect()
        root = await issue_root(people)
        _, created = await people.request("certificate.create", LEAF | {"issuer_id": root["certificate_id"]})

    async with serving(server.url):
        signature = base64.b64encode(sign(ROOT_KEY, "ecdsa-sha384", base64.b64decode(created["tbs"]))).decode()
        kind, signed = await people.request(
            "certificate.sign", {"certificate_id": created["certificate_id"], "signature": signature}
        )

    assert kind == "certificate.signed"
    parsed(signed).verify_directly_issued_by(parsed(root))


async def test_an_authority_revoked_through_one_replica_issues_nothing_through_another(server, client):
    async with serving(server.url), serving(server.url):
        people = await ServiceClient(client).connect()
        root = await issue_root(people)
        wish = LEAF | {"issuer_id": root["certificate_id"]}
        kinds = [
            (await people.request("certificate.create", wish))[0] for _ in range(8)
        ]  # both replicas have seen the authority now
        await people.request("certificate.revoke", {"certificate_id": root["certificate_id"]})

        codes = [await refused(people, "create", wish) for _ in range(8)]

    assert kinds == ["certificate.created"] * 8
    assert codes == ["conflict"] * 8


async def test_many_at_once_are_all_answered(people, client):
    root = await issue_root(people)
    body = json.dumps(LEAF | {"issuer_id": root["certificate_id"]}).encode()

    js = client.jetstream()
    await asyncio.gather(*(js.publish("keys.commands.certificate.create", body) for _ in range(200)))

    heard = [await people.next_event() for _ in range(200)]
    assert {kind for kind, _ in heard} == {"certificate.created"}
    assert len({created["serial"] for _, created in heard}) == 200


async def test_a_certificate_lives_from_hold_to_renewal_and_revocation_on_the_wire(people):
    root = await issue_root(people)
    leaf = await issue(people, ROOT_KEY, **LEAF, issuer_id=root["certificate_id"])
    about = {"certificate_id": leaf["certificate_id"]}

    held, _ = await people.request("certificate.hold", about)
    released, _ = await people.request("certificate.release", about)
    exported, export = await people.request("certificate.export", about | {"chain": True})
    renewed, successor = await people.request("certificate.renew", {"predecessor_id": leaf["certificate_id"]})
    early = await refused(people, "announce-expiry", about)
    revoked, revocation = await people.request("certificate.revoke", about | {"reason": "superseded"})

    assert [held, released, exported, renewed] == [
        f"certificate.{end}" for end in ("held", "released", "exported", "renewed")
    ]
    assert export["content"] == leaf["certificate_pem"] + root["certificate_pem"]
    assert (successor["predecessor_id"], successor["profile_version"]) == (leaf["certificate_id"], 2)
    assert (early, revoked) == ("conflict", "certificate.revoked")
    assert (revocation["issuer_id"], revocation["signed"]) == (root["certificate_id"], True)


async def test_what_was_created_is_not_signed_once_its_authority_is_on_hold(people):
    root = await issue_root(people)
    _, created = await people.request("certificate.create", LEAF | {"issuer_id": root["certificate_id"]})
    await people.request("certificate.hold", {"certificate_id": root["certificate_id"]})
    signature = base64.b64encode(sign(ROOT_KEY, "ecdsa-sha384", base64.b64decode(created["tbs"]))).decode()
    wish = {"certificate_id": created["certificate_id"], "signature": signature}

    assert await refused(people, "sign", wish) == "conflict"

    await people.request("certificate.release", {"certificate_id": root["certificate_id"]})
    assert (await people.request("certificate.sign", wish))[0] == "certificate.signed"


async def test_a_bad_policy_file_stops_the_service_with_the_line_and_the_field(server, tmp_path):
    (tmp_path / "policy.yaml").write_text("rules:\n  - effect: perhaps\n")
    environment = {"NATS_URL": server.url, "CERTIFICATE_POLICY_FILE": str(tmp_path / "policy.yaml")}

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.certificate"),
        env=os.environ | environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 78
    assert b"line 2, rules.0.effect" in said
    assert b"Traceback" not in said
