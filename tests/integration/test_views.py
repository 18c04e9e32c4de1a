"""KEYS_VIEWS on a real server: documents follow from the log, in any order and with concurrent writers."""

import asyncio
import json
import os
import random
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import nats.js.errors
import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.rebuild_views import rebuild
from services.certificate.service import certificate_service
from services.certificate.views.projector import SEQUENCE, Projector
from shared.contracts.certificate.value_types import Profile
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.nats import connected
from tests.support.pki import bundle_published, certify, crl_published, der, ocsp_published, publish_events, root
from tests.support.settings import certificate_settings
from tests.support.waiting import until

ROOT = root()
ALICE, BOB, CAROL = (certify(name, ROOT) for name in ("alice", "bob", "carol"))


@asynccontextmanager
async def projecting(url, replicas=1):
    """The certificate service, *replicas* times."""
    async with AsyncExitStack() as stack:
        for _ in range(replicas):
            app = certificate_service(certificate_settings(url))
            await app.start()
            stack.push_async_callback(app.stop)
        yield


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    return client.jetstream()


async def everything_is_processed(js):
    try:
        info = await js.consumer_info("KEYS_EVENTS", "views")
    except nats.js.errors.NotFoundError:
        return False
    return not (info.num_pending or info.num_ack_pending)


async def documents(js):
    """All that stands in the bucket, once everything was heard: bytes and the sequence each says to stand at."""
    await until(lambda: everything_is_processed(js))
    found = {}
    async for each in KeyValue(js, "KEYS_VIEWS").all():
        document = await js.get_msg("KV_KEYS_VIEWS", subject=f"$KV.KEYS_VIEWS.{each.key}")
        found[each.key] = (each.value, document.headers[SEQUENCE])
    return found


async def forget_views(js):
    """Drop what stands in the bucket, and that anything was heard."""
    await js.purge_stream("KV_KEYS_VIEWS")
    await js.delete_consumer("KEYS_EVENTS", "views")


def status(found, certified):
    return json.loads(found[f"certificate.{certified.certificate_id}"][0])["status"]


async def test_a_document_for_each_thing_that_relying_parties_ask_for(js, server):
    bundle, crl, answers = bundle_published(ROOT), crl_published(ROOT, 1), ocsp_published(ROOT, [ALICE])
    async with projecting(server.url):
        sequences = await publish_events(js, ROOT.signed, ALICE.signed, crl, answers, bundle)

        found = await documents(js)

    assert {key: int(sequence) for key, (_, sequence) in found.items()} == {
        f"certificate.{ROOT.certificate_id}": sequences[0],
        f"ca.{ROOT.certificate_id}": sequences[0],
        f"certificate.{ALICE.certificate_id}": sequences[1],
        f"issued.{ROOT.certificate_id}.{ALICE.serial}": sequences[1],
        f"crl.{ROOT.certificate_id}": sequences[2],
        **{f"ocsp.{answer.issuer_key_hash}.{ALICE.serial}": sequences[3] for answer in answers.answers},
        f"bundle.{bundle.bundle_id}": sequences[4],
    }
    assert found[f"ca.{ROOT.certificate_id}"][0] == der(ROOT.certificate)


async def test_what_changes_shows(js, server):
    async with projecting(server.url):
        await publish_events(js, ALICE.signed, BOB.signed)
        assert status(await documents(js), ALICE) == "issued"

        await publish_events(js, ALICE.held())
        assert status(await documents(js), ALICE) == "held"

        (revoked,) = await publish_events(js, ALICE.revoked())
        found = await documents(js)

    document = json.loads(found[f"issued.{ROOT.certificate_id}.{ALICE.serial}"][0])
    assert (document["status"], document["reason"], document["sequence"]) == ("revoked", "keyCompromise", revoked)
    assert document["revoked_at"].endswith("Z")
    assert status(found, BOB) == "issued"


async def test_the_newest_crl_and_the_newest_answer_stand(js, server):
    crls = [crl_published(ROOT, number, [ALICE] * (number > 4)) for number in range(1, 9)]
    answers = [
        ocsp_published(ROOT, [ALICE], status) for status in (ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED)
    ]
    await publish_events(js, *crls, *answers)

    async with projecting(server.url, replicas=2):
        found = await documents(js)

    assert found[f"crl.{ROOT.certificate_id}"][0] == der(x509.load_pem_x509_crl(crls[-1].crl_pem.encode()))
    for answer in answers[-1].answers:
        assert found[f"ocsp.{answer.issuer_key_hash}.{ALICE.serial}"][0] == answer.response


def scripted():
    """A history in which everything happens, some of it to certificates that nobody will hear of."""
    other, responder = root("Other"), certify("responder", ROOT, Profile.OCSP_RESPONDER)
    bundle = bundle_published(ROOT)
    return [
        ROOT.signed,
        other.signed,
        ALICE.signed,
        bundle,
        BOB.signed,
        responder.signed,
        crl_published(ROOT, 1),
        ALICE.held(),
        crl_published(ROOT, 2, [ALICE]),
        ocsp_published(ROOT, [ALICE, BOB]),
        CAROL.revoked(),
        ALICE.released(),
        BOB.superseded(),
        ALICE.revoked(),
        crl_published(ROOT, 3, [ALICE]),
        ocsp_published(ROOT, [ALICE], ocsp.OCSPCertStatus.REVOKED),
        bundle_published(ROOT, other, version=2, bundle_id=bundle.bundle_id),
        BOB.expired(),
    ]


async def test_views_that_were_dropped_are_built_again_byte_for_byte(js, server):
    async with projecting(server.url):
        for event in scripted():  # each is heard before the next is told
            await publish_events(js, event)
            await until(lambda: everything_is_processed(js))
        before = await documents(js)

    for replicas in (1, 2):
        await forget_views(js)
        async with projecting(server.url, replicas):
            assert await documents(js) == before
    assert len(before) == 17


async def test_documents_that_were_deleted_one_by_one_are_built_again_too(js, server):
    async with projecting(server.url):
        await publish_events(js, *scripted())
        before = await documents(js)
    for key in before:
        await js.publish(f"$KV.KEYS_VIEWS.{key}", b"", headers={"KV-Operation": "DEL"})
    await js.delete_consumer("KEYS_EVENTS", "views")

    async with projecting(server.url):
        assert await documents(js) == before


async def test_the_operators_command_rebuilds_while_two_services_run(js, server):
    async with projecting(server.url, replicas=2):
        await publish_events(js, *scripted())
        before = await documents(js)
        await js.publish("$KV.KEYS_VIEWS.crl.nobody", b"junk")

        assert await rebuild(server.url) == len(before)

        assert await documents(js) == before


async def test_the_operators_command_says_in_one_line_why_it_cannot(server):
    server.kill()
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.rebuild_views",
        env={**os.environ, "NATS_URL": server.url},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await done.communicate()

    assert (done.returncode, said.count(b"\n")) == (1, 1)
    assert said.startswith(b"the views were not rebuilt: ")


class Heard:
    """A message as a consumer hands it out; it is handed out here in any order, and again."""

    def __init__(self, stored):
        self.subject, self.data, self.headers = stored.subject, stored.data, stored.headers
        self.metadata = self
        self.sequence = self
        self.stream = stored.seq
        self.timestamp = stored.time


def lives():
    """Generates event sequences of a certificate after its signature."""
    happening = st.sampled_from(["held", "released", "superseded", "expired", "revoked"])
    return st.lists(happening, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=st.lists(lives(), min_size=1, max_size=4), seed=st.integers(0, 2**32))
async def test_in_whatever_order_and_however_often_it_is_heard_the_documents_are_the_same(js, server, histories, seed):
    chance = random.Random(seed)  # noqa: S311 - it shuffles
    people = [certify(f"person {number}", ROOT) for number in range(len(histories))]
    events = [
        [person.signed, *(getattr(person, each)() for each in life)]
        for person, life in zip(people, histories, strict=True)
    ]
    first = (await publish_events(js, crl_published(ROOT, 1)))[0]
    while any(events):
        await publish_events(js, chance.choice([life for life in events if life]).pop(0))
    last = (await publish_events(js, crl_published(ROOT, 2)))[0]
    heard = [Heard(await js.get_msg("KEYS_EVENTS", seq)) for seq in range(first, last + 1)]

    found = []
    for order in (heard, heard[::-1], chance.sample(heard * 2, len(heard) * 2)):
        await js.purge_stream("KV_KEYS_VIEWS")
        async with connected(server.url) as one, connected(server.url) as other:
            projectors = Projector.over(one), Projector.over(other)
            await asyncio.gather(*(chance.choice(projectors).handle(message) for message in order))
        found.append({each.key: each.value async for each in KeyValue(js, "KEYS_VIEWS").all()})

    assert found[0] == found[1] == found[2]


async def test_a_projector_that_is_killed_again_and_again_leaves_no_document_out(js, server):
    people = [certify(f"person {number}", ROOT) for number in range(300)]
    await asyncio.gather(*(publish_events(js, person.signed, person.held(), person.revoked()) for person in people))

    for _ in range(5):
        projector = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.certificate", env={**os.environ, "NATS_URL": server.url}
        )
        heard = await heard_so_far(js)
        await until(partial(more_is_heard, js, heard))
        projector.kill()
        await projector.wait()
    async with projecting(server.url):
        after = await documents(js)

    await forget_views(js)
    async with projecting(server.url):
        assert await documents(js) == after
    assert [status(after, person) for person in people] == ["revoked"] * 300


async def heard_so_far(js):
    try:
        return (await js.consumer_info("KEYS_EVENTS", "views")).ack_floor.stream_seq
    except nats.js.errors.NotFoundError:
        return 0


async def more_is_heard(js, before):
    return await everything_is_processed(js) or await heard_so_far(js) > before


async def test_junk_in_the_log_hides_nothing(js, server):
    async with projecting(server.url):
        await publish_events(js, ALICE.signed, ALICE.revoked())
        for kind in ("signed", "revoked", "expired", "crl-published"):
            await js.publish(f"keys.events.certificate.{kind}.{ALICE.certificate_id}", b"junk")
        before = await documents(js)
        await publish_events(js, ALICE.expired())
        found = await documents(js)

    assert status(before, ALICE) == status(found, ALICE) == "revoked"


async def test_what_cannot_be_read_is_passed_over_and_the_rest_is_heard(js, server):
    names = {"CIM-Event-Type": "CrlPublished"}
    ids = {f"CIM-{which}-Id": str(new_id()) for which in ("Event", "Correlation", "Causation")}
    forged = crl_published(ROOT, 1).model_copy(update={"crl_pem": "-----BEGIN X509 CRL-----\nnone\n"})
    async with projecting(server.url):
        await js.publish(f"keys.events.certificate.crl-published.{ROOT.certificate_id}", b"{}", headers=names | ids)
        await js.publish(
            f"keys.events.certificate.revoked.{ROOT.certificate_id}",
            forged.model_dump_json().encode(),
            headers=names | ids,
        )
        await publish_events(js, forged, BOB.signed)

        assert status(await documents(js), BOB) == "issued"


async def test_a_document_that_somebody_else_wrote_is_put_right_by_the_next_event(js, server):
    await js.publish(f"$KV.KEYS_VIEWS.certificate.{ALICE.certificate_id}", b"forged", headers={SEQUENCE: "many"})

    async with projecting(server.url):
        await publish_events(js, ALICE.signed)
        assert status(await documents(js), ALICE) == "issued"


async def test_what_is_issued_shows_while_the_server_dies_and_comes_back(js, server):
    async with projecting(server.url):
        for number in range(6):
            person = certify(f"person {number}", ROOT)
            await publish_events(js, person.signed, person.revoked())
            if number % 2:
                server.kill()
                await server.start()
                await until(lambda: js._nc.is_connected)  # noqa: SLF001 - the test's own connection
        await until(lambda: everything_is_processed(js), within=30)
        found = await documents(js)

    assert len([key for key in found if key.startswith("certificate.")]) == 6
    assert {json.loads(value)["status"] for key, (value, _) in found.items() if key.startswith("issued.")} == {
        "revoked"
    }
