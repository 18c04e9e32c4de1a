"""The certificate service on a real server: commands in, without a header, and the events they lead to."""

import asyncio
import base64
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest
from cryptography import x509

from services.certificate.service import Settings, certificate_service
from shared.contracts.key.vocabulary import Algorithm
from shared.messages.identity import new_id
from tests.support.authority import private_key, public_pem, sign

ROOT_KEY = private_key(Algorithm.EC_P384)
CA_KEY, LEAF_KEY = private_key(Algorithm.EC_P256), private_key(Algorithm.EC_P256, 1)


@asynccontextmanager
async def serving(url):
    app = certificate_service(Settings(nats_url=url))
    await app.start()
    try:
        yield
    finally:
        await app.stop()


class Conversation:
    """Asks as `nats pub` does: a subject and a body; hears every event."""

    def __init__(self, client, events):
        self._client = client
        self._events = events

    @classmethod
    async def begin(cls, client):
        return cls(client, await client.subscribe("keys.events.>"))

    async def ask(self, verb, body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._client.jetstream().publish(f"keys.commands.certificate.{verb}", raw)
        return await self.hear()

    async def hear(self):
        event = await self._events.next_msg(timeout=10)
        return event.subject.split(".")[2:4], json.loads(event.data)

    async def issue(self, signing_key, **body):
        kind, created = await self.ask("create", body)
        assert kind == ["certificate", "created"], created.get("message", created)
        signature = sign(signing_key, created["signature_algorithm"], base64.b64decode(created["tbs"]))
        encoded = base64.b64encode(signature).decode()
        kind, signed = await self.ask("sign", {"certificate_id": created["certificate_id"], "signature": encoded})
        assert kind == ["certificate", "signed"], signed
        return signed

    async def root(self):
        return await self.issue(ROOT_KEY, **ROOT)

    async def refused(self, verb, body):
        kind, rejection = await self.ask(verb, body)
        assert kind == ["command", "rejected"], rejection
        return rejection["code"]


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
        yield await Conversation.begin(client)


def parsed(signed):
    return x509.load_pem_x509_certificate(signed["certificate_pem"].encode())


async def test_a_root_an_intermediate_and_a_leaf_are_issued_with_keys_the_service_never_sees(people):
    root = await people.root()
    intermediate = await people.issue(ROOT_KEY, **INTERMEDIATE, issuer_id=root["certificate_id"])
    leaf = await people.issue(CA_KEY, **LEAF, issuer_id=intermediate["certificate_id"])

    parsed(root).verify_directly_issued_by(parsed(root))
    parsed(intermediate).verify_directly_issued_by(parsed(root))
    parsed(leaf).verify_directly_issued_by(parsed(intermediate))
    assert (leaf["profile"], leaf["issuer_id"]) == ("piv-authentication", intermediate["certificate_id"])


async def test_the_client_may_choose_the_id_and_asking_again_changes_nothing(people):
    wish = ROOT | {"certificate_id": str(new_id())}

    _, created = await people.ask("create", wish)
    kind, repeated = await people.ask("create", wish)

    assert created["certificate_id"] == repeated["aggregate_id"] == wish["certificate_id"]
    assert kind == ["command", "repeated"]


async def test_bad_commands_are_answered_with_what_is_wrong_and_the_service_goes_on(people):
    nobody = str(new_id())
    _, created = await people.ask("create", ROOT)
    known = created["certificate_id"]
    wrong = base64.b64encode(sign(CA_KEY, "ecdsa-sha256", b"something else")).decode()

    assert await people.refused("create", b"{") == "malformed"
    assert await people.refused("create", ROOT | {"colour": "red"}) == "invalid"
    assert await people.refused("create", ROOT | {"issuer_id": known}) == "invalid"
    assert await people.refused("create", ROOT | {"public_key_pem": "-----BEGIN NONSENSE-----"}) == "invalid"
    assert await people.refused("create", ROOT | {"certificate_id": known, "key_id": nobody}) == "conflict"
    assert await people.refused("create", LEAF) == "invalid"
    assert await people.refused("create", LEAF | {"issuer_id": nobody}) == "not-found"
    assert await people.refused("create", LEAF | {"issuer_id": known}) == "conflict"
    assert await people.refused("sign", {"certificate_id": nobody, "signature": wrong}) == "not-found"
    assert await people.refused("sign", {"certificate_id": known, "signature": wrong}) == "invalid"
    assert await people.refused("revoke", {"certificate_id": nobody}) == "not-found"
    assert (await people.root())["profile"] == "root"


async def test_a_leaf_issues_nothing(people):
    root = await people.root()
    leaf = await people.issue(ROOT_KEY, **LEAF, issuer_id=root["certificate_id"])

    other = LEAF | {"public_key_pem": public_pem(CA_KEY), "issuer_id": leaf["certificate_id"]}

    assert await people.refused("create", other) == "not-allowed"


async def test_a_revoked_authority_issues_nothing_more(people):
    root = await people.root()
    kind, revoked = await people.ask("revoke", {"certificate_id": root["certificate_id"], "reason": "key-compromise"})
    assert (kind, revoked["serial"]) == (["certificate", "revoked"], root["serial"])

    assert await people.refused("create", LEAF | {"issuer_id": root["certificate_id"]}) == "conflict"


async def test_a_voided_id_is_never_used(people):
    voided = str(new_id())
    kind, revoked = await people.ask("revoke", {"certificate_id": voided, "void_if_absent": True})
    assert (kind, revoked["existed"]) == (["certificate", "revoked"], False)

    assert await people.refused("create", ROOT | {"certificate_id": voided}) == "conflict"


async def test_another_process_finds_everything_where_the_first_one_left_it(server, client):
    async with serving(server.url):
        people = await Conversation.begin(client)
        root = await people.root()
        _, created = await people.ask("create", LEAF | {"issuer_id": root["certificate_id"]})

    async with serving(server.url):
        signature = base64.b64encode(sign(ROOT_KEY, "ecdsa-sha384", base64.b64decode(created["tbs"]))).decode()
        kind, signed = await people.ask("sign", {"certificate_id": created["certificate_id"], "signature": signature})

    assert kind == ["certificate", "signed"]
    parsed(signed).verify_directly_issued_by(parsed(root))


async def test_an_authority_revoked_through_one_replica_issues_nothing_through_another(server, client):
    async with serving(server.url), serving(server.url):
        people = await Conversation.begin(client)
        root = await people.root()
        wish = LEAF | {"issuer_id": root["certificate_id"]}
        kinds = [(await people.ask("create", wish))[0] for _ in range(8)]  # both replicas have seen the authority now
        await people.ask("revoke", {"certificate_id": root["certificate_id"]})

        codes = [await people.refused("create", wish) for _ in range(8)]

    assert kinds == [["certificate", "created"]] * 8
    assert codes == ["conflict"] * 8


async def test_many_at_once_are_all_answered(people, client):
    root = await people.root()
    body = json.dumps(LEAF | {"issuer_id": root["certificate_id"]}).encode()

    js = client.jetstream()
    await asyncio.gather(*(js.publish("keys.commands.certificate.create", body) for _ in range(200)))

    heard = [await people.hear() for _ in range(200)]
    assert {tuple(kind) for kind, _ in heard} == {("certificate", "created")}
    assert len({created["serial"] for _, created in heard}) == 200


async def test_a_certificate_lives_from_hold_to_renewal_and_revocation_on_the_wire(people):
    root = await people.root()
    leaf = await people.issue(ROOT_KEY, **LEAF, issuer_id=root["certificate_id"])
    about = {"certificate_id": leaf["certificate_id"]}

    held, _ = await people.ask("hold", about)
    released, _ = await people.ask("release", about)
    exported, export = await people.ask("export", about | {"chain": True})
    renewed, successor = await people.ask("renew", {"predecessor_id": leaf["certificate_id"]})
    early = await people.refused("announce-expiry", about)
    revoked, revocation = await people.ask("revoke", about | {"reason": "superseded"})

    assert [held[1], released[1], exported[1], renewed[1]] == ["held", "released", "exported", "renewed"]
    assert export["content"] == leaf["certificate_pem"] + root["certificate_pem"]
    assert (successor["predecessor_id"], successor["profile_version"]) == (leaf["certificate_id"], 2)
    assert (early, revoked[1]) == ("conflict", "revoked")
    assert (revocation["issuer_id"], revocation["signed"]) == (root["certificate_id"], True)


async def test_what_was_created_is_not_signed_once_its_authority_is_on_hold(people):
    root = await people.root()
    _, created = await people.ask("create", LEAF | {"issuer_id": root["certificate_id"]})
    await people.ask("hold", {"certificate_id": root["certificate_id"]})
    signature = base64.b64encode(sign(ROOT_KEY, "ecdsa-sha384", base64.b64decode(created["tbs"]))).decode()
    wish = {"certificate_id": created["certificate_id"], "signature": signature}

    assert await people.refused("sign", wish) == "conflict"

    await people.ask("release", {"certificate_id": root["certificate_id"]})
    assert (await people.ask("sign", wish))[0] == ["certificate", "signed"]


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
