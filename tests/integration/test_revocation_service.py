"""CRLs, OCSP responses and trust bundles on a real NATS server: commands and their events."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from services.certificate.ocsp.domain import MAX_CERTIFICATES
from services.certificate.service import certificate_service
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from tests.support.revocation_pki import DAY, holder, now, sign_with
from tests.support.service_client import ServiceClient, running
from tests.support.settings import certificate_settings
from tests.support.waiting import until

SINCE = now() - 10 * DAY
ROOT = holder(Profile.ROOT, days=3650, since=SINCE)
CA = holder(Profile.INTERMEDIATE, ROOT, days=1825, since=SINCE)
RESPONDER = holder(Profile.OCSP_RESPONDER, CA, days=100, since=SINCE)
ALICE, BOB = (holder(Profile.PIV_AUTHENTICATION, CA, name=name, since=SINCE) for name in ("Alice", "Bob"))


def serving(url):
    return running(certificate_service(certificate_settings(url)))


class RevocationClient(ServiceClient):
    """Asks for CRLs and OCSP responses; stores in the log and the views what other parts of the suite would."""

    @classmethod
    async def begin(cls, client, *holders):
        self = await cls(client).connect(from_log=True)
        for each in holders:
            await self.store(*each.issuance_events())
        return self

    async def create_crl(self):
        return await self.request("certificate.create-crl", {"certificate_id": CA.certificate_id})

    async def crl(self):
        body = {"certificate_id": CA.certificate_id}
        return await self.publish_crl(await self.accepted("certificate.create-crl", body, "certificate.crl-created"))

    async def publish_crl(self, created):
        signature = signed(CA, created["tbs"])
        body = {"certificate_id": CA.certificate_id, "number": created["number"], "signature": signature}
        published = await self.accepted("certificate.publish-crl", body, "certificate.crl-published")
        return x509.load_pem_x509_crl(published["crl_pem"].encode())

    async def prepare(self, **body):
        return await self.request("ocsp.prepare", {"issuer_id": CA.certificate_id, **body})

    async def answers(self, prepared):
        signatures = [signed(RESPONDER, each["tbs"]) for each in prepared["answers"]]
        body = {"batch_id": prepared["batch_id"], "signatures": signatures}
        return await self.accepted("ocsp.publish", body, "ocsp.published")

    async def view(self, key, value):
        await KeyValue(self.js, "KEYS_VIEWS").put(key, value, 0)

    async def projected(self):
        """Wait until the service has written every document that follows from what was told."""

        async def nothing_left():
            views = await self.js.consumer_info("KEYS_EVENTS", "views")
            return not views.num_pending and not views.num_ack_pending

        await until(nothing_left)


def signed(holder_, tbs):
    return base64.b64encode(sign_with(holder_.key, base64.b64decode(tbs))).decode()


def serials(crl):
    return {f"{each.serial_number:x}" for each in crl}


@pytest.fixture(name="people")
async def _people(server, client):
    async with serving(server.url):
        yield await RevocationClient.begin(client, ROOT, CA, RESPONDER, ALICE, BOB)


async def test_a_crl_is_built_signed_and_published_and_tells_the_next_of_each_revocation(people):
    assert serials(await people.crl()) == set()
    assert (await people.create_crl())[0] == "command.repeated"

    await people.store(ALICE.held())
    assert serials(await people.crl()) == {ALICE.serial}
    await people.store(ALICE.released(), BOB.revoked(RevocationReason.KEY_COMPROMISE))
    crl = await people.crl()

    assert serials(crl) == {BOB.serial}
    assert crl.is_signature_valid(CA.certificate.public_key())
    assert (await people.create_crl())[0] == "command.repeated"


async def test_a_signature_over_a_crl_that_has_a_successor_is_let_be(people):
    _, first = await people.create_crl()
    _, second = await people.create_crl()
    body = {"certificate_id": CA.certificate_id, "number": first["number"], "signature": signed(CA, first["tbs"])}

    assert (await people.request("certificate.publish-crl", body))[0] == "command.repeated"
    await people.publish_crl(second)
    assert (await people.request("certificate.publish-crl", body))[0] == "command.repeated"
    _, refused = await people.request("certificate.publish-crl", body | {"number": None})
    assert (refused["code"], "certificate.create-crl" in refused["message"]) == ("conflict", True)


async def test_another_process_goes_on_where_the_first_one_stopped_and_numbers_grow(server, client):
    async with serving(server.url):
        people = await RevocationClient.begin(client, CA, ALICE, BOB)
        await people.store(ALICE.revoked())
        first = await people.crl()
        await people.store(BOB.revoked())
        _, created = await people.create_crl()

    async with serving(server.url):
        second = await people.publish_crl(created)
        assert (await people.create_crl())[0] == "command.repeated"

    assert (serials(first), serials(second)) == ({ALICE.serial}, {ALICE.serial, BOB.serial})
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (first, second)]
    assert numbers[0] < numbers[1]


async def test_whichever_replica_is_asked_the_crl_tells_of_every_revocation(server, client):
    async with serving(server.url), serving(server.url):
        people = await RevocationClient.begin(client, CA)
        known = set()
        for _ in range(10):
            leaf = holder(Profile.PIV_AUTHENTICATION, CA, since=SINCE)
            await people.store(leaf.revoked())
            known.add(leaf.serial)
            assert serials(await people.crl()) == known


async def test_many_ask_for_a_crl_at_once_and_each_has_a_number_of_its_own(people):
    body = json.dumps({"certificate_id": CA.certificate_id}).encode()
    await asyncio.gather(*(people.js.publish("keys.commands.certificate.create-crl", body) for _ in range(20)))

    heard = [await people.next_event() for _ in range(20)]

    assert {kind for kind, _ in heard} == {"certificate.crl-created"}
    assert len({told["number"] for _, told in heard}) == 20


async def test_a_crl_of_ten_thousand_passes_through_every_message_and_from_process_to_process(server, client):
    async with serving(server.url):
        people = await RevocationClient.begin(client, CA)
        revoked = [ALICE.revoked(RevocationReason.SUPERSEDED, serial=f"{2**126 + n:x}") for n in range(10_000)]
        sealed = [encode_event(event, Lineage.root(new_id()), "certificate") for event in revoked]
        for some in range(0, 10_000, 500):
            batch = sealed[some : some + 500]
            await asyncio.gather(*(people.js.publish(e.subject, e.payload, headers=e.headers) for e in batch))
        for _ in revoked:
            await people.next_event()
        kind, created = await people.create_crl()
        assert (kind, created["entries"]) == ("certificate.crl-created", 10_000)

    async with serving(server.url):
        assert len(await people.publish_crl(created)) == 10_000
        assert (await people.create_crl())[0] == "command.repeated"


async def test_answers_about_one_certificate_follow_its_revocation(people):
    about = {"certificate_ids": [ALICE.certificate_id], "responder_id": RESPONDER.certificate_id}
    _, prepared = await people.prepare(**about)
    good = await people.answers(prepared)
    await people.store(ALICE.revoked(RevocationReason.SUPERSEDED))
    _, prepared = await people.prepare(**about)
    revoked = await people.answers(prepared)

    statuses = [
        {ocsp.load_der_ocsp_response(base64.b64decode(each["response"])).certificate_status for each in told["answers"]}
        for told in (good, revoked)
    ]
    assert statuses == [{ocsp.OCSPCertStatus.GOOD}, {ocsp.OCSPCertStatus.REVOKED}]
    assert (good["everyone"], good["more_after"]) == (False, None)


async def test_what_the_service_does_not_know_it_does_not_answer_for(people):
    stranger = str(new_id())

    _, refused = await people.prepare(certificate_ids=[stranger], responder_id=RESPONDER.certificate_id)

    assert (refused["code"], stranger in refused["message"]) == ("not-found", True)


async def test_where_no_responder_is_known_or_what_names_it_is_nonsense_it_says_what_is_missing(server, client):
    async with serving(server.url):
        people = await RevocationClient.begin(client, ROOT, CA, ALICE)
        _, refused = await people.prepare()
        assert (refused["code"], "ocsp-responder" in refused["message"]) == ("not-found", True)

        await people.view(f"responder.{CA.certificate_id}", b"nonsense")
        _, refused = await people.prepare()
        assert refused["code"] == "not-found"


async def test_all_certificates_of_an_issuer_are_answered_for_page_by_page(people):
    expired = holder(Profile.PIV_AUTHENTICATION, CA, since=SINCE, days=5)
    leaves = [holder(Profile.PIV_AUTHENTICATION, CA, since=SINCE) for _ in range(MAX_CERTIFICATES + 10)]
    forged = str(new_id())  # there is a document of it, and no history
    await people.view(
        f"issued.{CA.certificate_id}.f0",
        json.dumps({"certificate_id": forged, "not_after": (now() + DAY).isoformat()}).encode(),
    )
    await people.store(*(event for each in (expired, *leaves) for event in each.issuance_events()))
    await people.store(leaves[3].revoked(), leaves[-1].held())
    await people.projected()

    _, first = await people.prepare()
    _, second = await people.prepare(after=first["more_after"])
    kind, _ = await people.prepare(after=10_000)

    def of(prepared):
        return [each["serial"] for each in prepared["answers"]][::2]

    known = [RESPONDER, ALICE, BOB, *leaves]
    assert sorted(of(first) + of(second)) == sorted(each.serial for each in known)
    assert (len(of(first)), first["everyone"], second["more_after"]) == (MAX_CERTIFICATES, True, None)
    assert kind == "command.repeated"
    told = [*(await people.answers(first))["answers"], *(await people.answers(second))["answers"]]
    bad = {
        each["serial"]
        for each in told
        if ocsp.load_der_ocsp_response(base64.b64decode(each["response"])).certificate_status
        is ocsp.OCSPCertStatus.REVOKED
    }
    assert bad == {leaves[3].serial, leaves[-1].serial}


async def test_exactly_one_page_has_no_page_after_it(people):
    leaves = [holder(Profile.PIV_AUTHENTICATION, CA, since=SINCE) for _ in range(MAX_CERTIFICATES - 3)]
    await people.store(*(event for each in leaves for event in each.issuance_events()))
    await people.projected()

    _, prepared = await people.prepare(responder_id=RESPONDER.certificate_id)

    assert (len(prepared["answers"]), prepared["more_after"]) == (2 * MAX_CERTIFICATES, None)


async def test_a_batch_that_one_process_prepared_another_publishes(server, client):
    about = {"certificate_ids": [ALICE.certificate_id], "responder_id": RESPONDER.certificate_id}
    async with serving(server.url):
        people = await RevocationClient.begin(client, ROOT, CA, RESPONDER, ALICE)
        _, prepared = await people.prepare(**about)

    async with serving(server.url):
        assert len((await people.answers(prepared))["answers"]) == 2


async def test_a_trust_bundle_has_versions(people):
    successor = holder(Profile.ROOT, days=3650, since=SINCE)
    await people.store(*successor.issuance_events())
    bundle = {"bundle_id": str(new_id()), "organization": "CIM"}

    async def publish(*roots):
        ids = [each.certificate_id for each in roots]
        return await people.request("trust-bundle.publish", bundle | {"certificate_ids": ids})

    told = [await publish(ROOT), await publish(ROOT), await publish(ROOT, successor), await publish(CA)]

    assert [kind for kind, _ in told] == [
        "trust-bundle.published",
        "command.repeated",
        "trust-bundle.published",
        "command.rejected",
    ]
    assert [told[n][1]["version"] for n in (0, 2)] == [1, 2]
    assert told[2][1]["certificates_pem"] == [ROOT.pem, successor.pem]
    assert told[3][1]["code"] == "not-allowed"


async def test_an_answer_is_good_from_when_the_command_was_stored(people):
    _, prepared = await people.prepare(certificate_ids=[ALICE.certificate_id], responder_id=RESPONDER.certificate_id)
    told = await people.answers(prepared)

    response = ocsp.load_der_ocsp_response(base64.b64decode(told["answers"][0]["response"]))
    assert response.next_update_utc - response.this_update_utc == timedelta(days=7)
    assert response.produced_at_utc == response.this_update_utc
