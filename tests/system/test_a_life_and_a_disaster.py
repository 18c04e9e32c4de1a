"""A PKI that does a bit of everything by timer, policy and people; its views dropped and built anew; then the machine
with the storage burns, and an older backup is all there is.
"""

import asyncio
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from deploy.settings import LocalSuite
from deploy.supervisor import Supervisor
from shared.contracts.certificate.events import CertificateExpiring
from shared.contracts.certificate.value_types import Profile
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from tests.support.nats import connected, free_port
from tests.support.suite import Suite
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
SERIAL = "42000001"
FOREIGN = str(uuid4())
POLICY = f"""
issuers:
  - match: {{issuer_id: {FOREIGN}}}
    expiry: {{renew: false}}
  - match: {{any: true}}
    ocsp: true
    expiry: {{renew: true}}
"""
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


class Life(Suite):
    """A suite that can be ended and begun again, and what a test asks of it again and again."""

    supervisor: Supervisor

    async def issue(self, name, profile="piv-authentication"):
        body = {"issuer_id": self.issuer_id, "profile": profile, "subject": {"common_name": name}}
        body |= {"algorithm": "ec-p256", "validity_days": 30}
        end = await self.end_of(await self.start_saga("certificate-issuance", **body))
        assert end.tokens[4] == "completed", end.body
        return end.body

    async def does(self, verb, certificate_id, **more):
        told = await self.ask(f"certificate.{verb}", {"certificate_id": certificate_id, **more})
        assert told.tokens[2] == "certificate", told.body
        return told.body

    async def quiet(self):
        """Wait until no saga, projector or timer has anything more to say for a while."""
        before = -1
        while (now := (await self.client.jetstream().stream_info("KEYS_EVENTS")).state.last_seq) != before:
            before = now
            await asyncio.sleep(1.2)

    async def views(self):
        js = self.client.jetstream()
        found = {}
        async for document in KeyValue(js, "KEYS_VIEWS").all():
            message = await js.get_msg("KV_KEYS_VIEWS", document.revision)
            found[document.key] = (document.value, message.headers["CIM-Sequence"])
        return found

    async def view(self, key):
        document = await KeyValue(self.client.jetstream(), "KEYS_VIEWS").get(key)
        return document.value if document else None

    async def crl_with(self, *serials):
        """The issuer's CRL as relying parties get it, once it names exactly *serials*."""
        found = None

        async def names_them():
            nonlocal found
            content = await self.view(f"crl.{self.issuer_id}")
            found = x509.load_der_x509_crl(content) if content else None
            return found is not None and {f"{each.serial_number:x}" for each in found} == set(serials)

        await until(names_them, within=20)
        return found

    async def ocsp_status(self, serial):
        public_key = x509.load_pem_x509_certificate(self.chain[1].encode()).public_key()
        key_hash = x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()
        content = await self.view(f"ocsp.{key_hash}.{serial}")
        return ocsp.load_der_ocsp_response(content).certificate_status if content else None

    async def tool(self, *arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments, env=self.local.environment("saga"), cwd=ROOT, stdout=-1, stderr=-2
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


@pytest_asyncio.fixture(name="life", scope="module", loop_scope="module")
async def _life(tmp_path_factory):
    directory = tmp_path_factory.mktemp("life")
    policy = directory / "policy.yaml"
    policy.write_text(POLICY)
    local = LocalSuite(directory / "state", free_port(), free_port(), SERIAL, {"CERTIFICATE_POLICY_FILE": str(policy)})
    supervisor = Supervisor(local)
    await supervisor.start()
    life = None
    try:
        async with connected(local.url) as client:
            life = Life(local, client)
            life.supervisor = supervisor
            await life.bootstrap()
            await life.issue("Acme OCSP", profile="ocsp-responder")
            yield life
    finally:
        await (life.supervisor if life else supervisor).stop()


def soon_over(issuer, key_identifier, end):
    """A certificate of *issuer* in the making whose end is near, as another CA may have made it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC).replace(microsecond=0)
    usages = "content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign encipher_only"
    usage = dict.fromkeys([*usages.split(), "decipher_only"], False)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Soon Over")]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() >> 32)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(key_identifier, None, None), critical=False)
    )


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


async def test_the_end_of_an_imported_certificate_is_told_when_it_comes(life):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Elsewhere")])
    usage = x509.KeyUsage(*(each in (5, 6) for each in range(9)))
    root = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number() >> 32)
        .not_valid_before(datetime.now(UTC) - 24 * HOUR)
        .not_valid_after(datetime.now(UTC) + 24 * HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    await life.does("import", FOREIGN, certificate_pem=pem(root), profile="root")
    leaf = soon_over(name, x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest, 3 * SECOND).sign(
        key, hashes.SHA256()
    )
    about = {"certificate_pem": pem(leaf), "profile": "piv-authentication", "issuer_id": FOREIGN}
    imported = await life.does("import", str(uuid4()), **about)

    told = await life.last_event(f"keys.events.certificate.expired.{imported['certificate_id']}")
    expiring = await life.events(f"keys.events.certificate.expiring.{imported['certificate_id']}")

    assert told.body["not_after"] == imported["not_after"]
    assert [each.body["renewal"] for each in expiring] == [False]
    assert expiring[0].sequence < told.sequence


async def test_the_news_that_an_end_is_near_begins_a_renewal_where_policy_wants_it(life):
    """A certificate nears its end in the last third of its life: the test announces that in place of the timer."""
    issued = await life.issue("Near")
    certificate_id = issued["certificate_id"]
    [signed] = await life.events(f"keys.events.certificate.signed.{certificate_id}")
    assert signed.body["renewal"] is True
    near = CertificateExpiring(
        certificate_id=certificate_id,
        profile=Profile(signed.body["profile"]),
        not_after=datetime.fromisoformat(signed.body["not_after"]),
        renewal=True,
    )
    told = encode_event(near, Lineage.root(new_id()), "certificate")
    await life.client.jetstream().publish(told.subject, told.payload, headers=told.headers)

    superseded = await life.last_event(f"keys.events.certificate.superseded.{certificate_id}")
    renewed = await life.last_event(f"keys.events.certificate.signed.{superseded.body['successor_id']}")

    old, new = [x509.load_pem_x509_certificate(each.body["certificate_pem"].encode()) for each in (signed, renewed)]
    new.verify_directly_issued_by(x509.load_pem_x509_certificate(life.chain[1].encode()))
    assert old.public_key() == new.public_key()
    assert old.serial_number != new.serial_number


async def test_a_certificate_on_a_device_is_renewed_there(life):
    end = await life.end_of(await life.provision(yubikey_serial=SERIAL))
    assert end.tokens[4] == "completed", end.body
    about = {"certificate_id": end.body["certificate_id"], "yubikey_serial": SERIAL, "slot": "9a"}

    renewed = await life.end_of(await life.start_saga("certificate-renewal", **about))

    assert renewed.tokens[4] == "completed", renewed.body
    on_device = await life.sees_in_slot(SERIAL, "9a")
    assert on_device.body["fingerprint_sha256"] == renewed.body["fingerprint_sha256"] != end.body["fingerprint_sha256"]


async def test_a_key_ends_when_it_was_said_to(life):
    at = datetime.now(UTC) + 2 * SECOND
    key = (await life.ask("key.generate", {"algorithm": "ec-p256", "expires_at": at.isoformat()})).body

    await life.last_event(f"keys.events.key.expired.{key['key_id']}")

    to_sign = {"key_id": key["key_id"], "message": "aGVsbG8=", "purpose": "digital-signature"}
    refused = await life.ask("key.sign", to_sign | {"signature_algorithm": "ecdsa-sha256"})
    assert (refused.tokens[3], refused.body["code"]) == ("rejected", "conflict")


async def test_a_root_that_two_must_approve_signs_nothing_without_them(life):
    authority = {"algorithm": "ec-p256", "validity_days": 3650}
    saga_id = await life.start_saga(
        "pki-bootstrap",
        organization="Two",
        root={"common_name": "Two Root", **authority},
        intermediate={"common_name": "Two Issuing", **authority},
        approvals=2,
    )
    for step in ("approve-root-certificate", "approve-intermediate-certificate", "approve-root-crl"):
        waiting = (await life.last_event(f"keys.events.saga.*.waiting.{step}.{saga_id}")).body
        if step == "approve-root-certificate":
            [created] = [
                each.body
                for each in await life.events("keys.events.certificate.created.*")
                if each.body["tbs_sha256"] == waiting["message_sha256"]
            ]
            to_sign = {"key_id": created["signing_key_id"], "message": created["tbs"]}
            to_sign |= {"purpose": "certificate-signing", "signature_algorithm": created["signature_algorithm"]}
            refused = await life.ask("key.sign", to_sign)
            assert (refused.body["code"], "2 of them are missing" in refused.body["message"]) == ("not-allowed", True)
        approve = {"saga_id": saga_id, "signal": "approve", "message_sha256": waiting["message_sha256"]}
        first = await life.ask("saga.signal", approve, {"CIM-Actor": "ada"})
        again = await life.ask("saga.signal", approve, {"CIM-Actor": "ada"})
        second = await life.ask("saga.signal", approve, {"CIM-Actor": "bob"})
        assert (first.body["heard"], again.tokens[3], second.body["heard"]) == (1, "repeated", 2)

    end = await life.end_of(saga_id)
    assert end.tokens[4] == "completed", end.body
    x509.load_pem_x509_certificate(end.body["intermediate_certificate_pem"].encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(end.body["root_certificate_pem"].encode())
    )


async def test_all_views_dropped_and_built_again_are_the_same_to_the_byte(life):
    held, released, revoked, renewed = [await life.issue(name) for name in ("Held", "Released", "Revoked", "Renewed")]
    for each in (held, released):
        await life.does("hold", each["certificate_id"])
    await life.does("release", released["certificate_id"])
    await life.does("revoke", revoked["certificate_id"], reason="key-compromise")
    end = await life.end_of(await life.start_saga("certificate-renewal", certificate_id=renewed["certificate_id"]))
    assert end.tokens[4] == "completed", end.body
    await life.crl_with(*[serial_of(each) for each in (held, revoked)])
    await life.quiet()

    before = await life.views()
    await life.tool("deploy.rebuild_views")
    after = await life.views()

    assert {key.split(".")[0] for key in before} == {
        "certificate",
        "issued",
        "ca",
        "crl",
        "ocsp",
        "responder",
        "bundle",
    }
    stati = {
        value.partition(b'"status":"')[2].split(b'"')[0] for key, (value, _) in before.items() if "certificate" in key
    }
    assert stati == {b"issued", b"held", b"revoked", b"superseded", b"expired"}
    assert {key for key in before if before[key] != after.get(key)} == set()
    assert after.keys() == before.keys()
    await life.does("revoke", held["certificate_id"], reason="superseded")


def serial_of(issued):
    return f"{x509.load_pem_x509_certificate(issued['certificate_pem'].encode()).serial_number:x}"


def number_of(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def verified(life, certificate_id, **more):
    told = await life.does("verify", certificate_id, **more)
    return told["valid"], told["reason"]


async def test_after_a_disaster_what_the_backup_knew_as_revoked_is_so_and_crl_numbers_do_not_go_back(life, tmp_path):
    """What was revoked after the backup was saved is lost with the log, as all that happened since: the operator must
    revoke it again. But no CRL is ever numbered below one that relying parties may have seen."""
    known = [
        event.body["serial"]
        for event in await life.events("keys.events.certificate.revoked.*")
        if event.body["issuer_id"] == life.issuer_id
    ]
    early, late = await life.issue("Early"), await life.issue("Late")
    between = datetime.now(UTC)
    await asyncio.sleep(1.1)  # X.509 counts in seconds
    await life.does("revoke", early["certificate_id"], reason="key-compromise")
    crl_saved = await life.crl_with(*known, serial_of(early))
    await until(lambda: is_revoked(life, early), within=20)
    await life.quiet()
    await life.tool("deploy.backup", "save", str(tmp_path / "backup"))
    await life.does("revoke", late["certificate_id"], reason="key-compromise")
    crl_lost = await life.crl_with(*known, serial_of(early), serial_of(late))

    await burn_and_restore(life, tmp_path / "backup")

    early_now = await verified(life, early["certificate_id"])
    early_then = await verified(life, early["certificate_id"], at=between.isoformat())
    late_now = await verified(life, late["certificate_id"])
    assert (early_now[0], "revoked" in early_now[1]) == (False, True)
    assert early_then == (True, None)
    assert late_now == (True, None)
    assert await is_revoked(life, early)
    await life.does("revoke", late["certificate_id"], reason="key-compromise")
    crl = await life.crl_with(*known, serial_of(early), serial_of(late))
    assert number_of(crl_saved) < number_of(crl_lost) < number_of(crl)
    await until(lambda: is_revoked(life, late), within=20)


async def is_revoked(life, issued):
    return await life.ocsp_status(serial_of(issued)) is ocsp.OCSPCertStatus.REVOKED


async def burn_and_restore(life, backup):
    local = life.local
    await life.supervisor.stop()
    shutil.rmtree(local.state / "nats")
    (local.state / "nats").mkdir()
    server = await asyncio.create_subprocess_exec(*local.command("nats"), stdout=-3, stderr=-3)
    try:
        await until(lambda: answers(life))
        await life.tool("deploy.backup", "restore", str(backup))
    finally:
        server.terminate()
        await server.wait()
    life.supervisor = Supervisor(local)
    await life.supervisor.start()
    await until(lambda: answers(life))


async def answers(life):
    with suppress(Exception):
        await life.client.flush(timeout=1)
        return life.client.is_connected
    return False
