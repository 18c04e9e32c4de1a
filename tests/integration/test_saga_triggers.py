"""Triggered and scheduled sagas, and sagas that wait for people, on a real server."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.js.errors import NotFoundError

from services.saga.core.definition import Trigger
from services.saga.core.triggers import by_event_type, triggered_starts
from services.saga.definitions import crl_publication as crls
from services.saga.definitions.certificate_issuance import CERTIFICATE_ISSUANCE
from services.saga.definitions.crl_publication import CRL_PUBLICATION
from services.saga.definitions.key_expiry import KEY_EXPIRY
from services.saga.definitions.ocsp_publication import OCSP_PUBLICATION
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from shared.contracts.certificate.events import CertificateRevoked
from shared.contracts.certificate.value_types import DistinguishedName, Profile, RevocationReason
from shared.contracts.key.commands import GenerateKey
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.certificates import StartCertificateIssuance, StartPkiBootstrap
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from tests.support.fake_services import REQUEST, FakeServices, coordinating
from tests.support.nats import connected
from tests.support.toy_services import ISSUER_ID, key_generated
from tests.support.waiting import until

TRACE = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


AT_ONCE = replace(CRL_PUBLICATION, triggers=(Trigger(CertificateRevoked, crls.revoked),))
"""The same saga, begun by each revocation by itself and without waiting for others."""


def revoked(**more):
    facts = {"reason": RevocationReason.SUPERSEDED, "serial": "01", "issuer_id": ISSUER_ID, **more}
    return CertificateRevoked(certificate_id=str(new_id()), **facts)


def key_that_ends(at):
    return key_generated(GenerateKey(key_id=str(new_id()), algorithm=Algorithm.EC_P256, expires_at=at))


def in_seconds(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def begun_by(definition, event, lineage):
    """The id of the saga that *event* begins."""
    kind = by_event_type([definition])[type(event).__name__]
    [one] = triggered_starts(kind, lineage.message_id, event, datetime.now(UTC))
    return one.request.saga_id


def lineage():
    return Lineage(message_id=new_id(), correlation_id=new_id(), causation_id=new_id(), actor="ada", trace=TRACE)


async def stored(services, subject):
    try:
        return await services.js.get_msg("KEYS_TIMERS", subject=subject)
    except NotFoundError:
        return None


async def hear_all_again(services):
    await until(services.everything_is_processed)
    await services.js.delete_consumer("KEYS_EVENTS", "saga-events")


async def test_an_event_that_no_saga_asked_for_begins_one_which_inherits_from_it(server, services, log):
    event, told = revoked(), lineage()
    saga_id = begun_by(AT_ONCE, event, told)
    async with coordinating(server.url, AT_ONCE):
        await services.publish(event, told)

        end = await log.end_of(saga_id)

    started = (await log.announced(saga_id))[0]
    assert (end.tokens[4], end.body["number"]) == ("completed", 7)
    assert started.headers["CIM-Causation-Id"] == str(told.message_id)
    assert started.headers["CIM-Correlation-Id"] == str(told.correlation_id)
    assert started.headers["CIM-Actor"] == "ada"
    assert started.headers["traceparent"] == TRACE[0][1]
    assert services.steps_sent(saga_id) == ["create-crl", "sign-crl", "publish-crl"]


async def test_an_event_that_is_heard_again_begins_nothing_again(server, services, log):
    event, told = revoked(), lineage()
    saga_id = begun_by(AT_ONCE, event, told)
    async with coordinating(server.url, AT_ONCE):
        await services.publish(event, told)
        await log.end_of(saga_id)
    before = await log.events("keys.events.saga.*.*.*")
    await hear_all_again(services)

    async with coordinating(server.url, AT_ONCE):
        await until(services.everything_is_processed)

        assert await log.events("keys.events.saga.*.*.*") == before


async def test_what_has_its_time_begins_then_and_there_is_no_saga_before(server, services, log):
    event, told = key_that_ends(in_seconds(1.5)), lineage()
    saga_id = begun_by(KEY_EXPIRY, event, told)
    services.toys.log["key", event.key_id].append(event)
    async with coordinating(server.url, KEY_EXPIRY):
        await services.publish(event, told)
        await until(lambda: stored(services, f"keys.timers.{saga_id}.begin"))
        with pytest.raises(NotFoundError):
            await services.revision(saga_id)

        assert (await log.end_of(saga_id)).tokens[4] == "completed"
    started = (await log.announced(saga_id))[0]
    assert started.headers["CIM-Causation-Id"] == str(told.message_id)
    assert started.headers["CIM-Actor"] == "ada"
    assert datetime.fromisoformat(started.headers["CIM-Timestamp"]) >= event.expires_at


async def test_what_is_heard_again_before_its_time_begins_once(server, services, log):
    event, told = key_that_ends(in_seconds(2)), lineage()
    saga_id = begun_by(KEY_EXPIRY, event, told)
    services.toys.log["key", event.key_id].append(event)
    async with coordinating(server.url, KEY_EXPIRY):
        await services.publish(event, told)
        await until(lambda: stored(services, f"keys.timers.{saga_id}.begin"))
    await hear_all_again(services)
    async with coordinating(server.url, KEY_EXPIRY):
        await log.end_of(saga_id)
    await hear_all_again(services)
    async with coordinating(server.url, KEY_EXPIRY):
        await until(services.everything_is_processed)

    assert [told.tokens[4] for told in await log.announced(saga_id)] == ["started", "step", "completed"]
    assert services.steps_sent(saga_id) == ["expire-key"]


async def test_a_time_that_has_passed_begins_at_once(server, services, log):
    event, told = key_that_ends(in_seconds(-60)), lineage()
    async with coordinating(server.url, KEY_EXPIRY):
        await services.publish(event, told)

        assert (await log.end_of(begun_by(KEY_EXPIRY, event, told))).tokens[4] == "completed"


async def test_a_beginning_survives_the_kill_of_the_server_while_nobody_listens(server, services, log):
    event, told = key_that_ends(in_seconds(2)), lineage()
    saga_id = begun_by(KEY_EXPIRY, event, told)
    async with coordinating(server.url, KEY_EXPIRY):
        await services.publish(event, told)
        await until(lambda: stored(services, f"keys.timers.{saga_id}.begin"))
    server.kill()
    await server.start()

    async with connected(server.url) as client, coordinating(server.url, KEY_EXPIRY):
        again = FakeServices(client)
        await again.listen()

        assert (await log.end_of(saga_id)).tokens[4] == "completed"


@pytest.mark.parametrize("days", [400, 365 * 99])
async def test_what_is_far_ahead_costs_one_message(server, services, days):
    event, told = key_that_ends(in_seconds(86_400 * days)), lineage()
    saga_id = begun_by(KEY_EXPIRY, event, told)
    async with coordinating(server.url, KEY_EXPIRY):
        await services.publish(event, told)
        await until(lambda: stored(services, f"keys.timers.{saga_id}.begin"))
        await until(services.everything_is_processed)

    kept = await stored(services, f"keys.timers.{saga_id}.begin")
    assert json.loads(kept.data) == {"saga_id": saga_id, "key_id": event.key_id, "stage": "expired"}
    assert (await services.js.stream_info("KEYS_TIMERS")).state.messages == 1
    with pytest.raises(NotFoundError):
        await services.revision(saga_id)


async def test_three_coordinators_begin_a_triggered_saga_once(server, services, log):
    events = [(revoked(), lineage()) for _ in range(20)]
    sagas = [begun_by(AT_ONCE, *one) for one in events]
    one = (server.url, AT_ONCE)
    async with coordinating(*one), coordinating(*one), coordinating(*one):
        await asyncio.gather(*(services.publish(*told) for told in events))
        ends = await asyncio.gather(*(log.end_of(saga_id) for saga_id in sagas))

    assert {end.tokens[4] for end in ends} == {"completed"}
    assert len(await log.events("keys.events.saga.*.started.*")) == 20


# -- people -------------------------------------------------------------------------------------------------------


async def waiting(log, saga_id, step="approve-certificate"):
    return (await log.last_event(f"keys.events.saga.*.waiting.{step}.{saga_id}")).body


async def say(log, actor, saga_id, sha256, **changes):
    body = {"saga_id": saga_id, "signal": "approve", "message_sha256": sha256, **changes}
    return await log.ask("saga.signal", body, {"CIM-Actor": actor} if actor else None)


async def a_certificate_that_two_must_approve(services):
    saga_id, name = str(new_id()), DistinguishedName(common_name="www")
    how = {"profile": Profile.TLS_SERVER, "csr_pem": "-----BEGIN TOY-----", "validity_days": 90, "approvals": 2}
    await services.start(StartCertificateIssuance(saga_id=saga_id, issuer_id=ISSUER_ID, subject=name, **how))
    return saga_id


async def test_two_people_approve_and_the_saga_goes_on_whatever_dies_between_them(server, services, log):
    async with coordinating(server.url, CERTIFICATE_ISSUANCE):
        saga_id = await a_certificate_that_two_must_approve(services)
        asked = await waiting(log, saga_id)
        first = await say(log, "ada", saga_id, asked["message_sha256"], comment="read it")
    server.kill()
    await server.start()
    async with connected(server.url) as client, coordinating(server.url, CERTIFICATE_ISSUANCE):
        again = FakeServices(client)
        again.toys = services.toys
        await again.listen()
        second = await say(log, "bob", saga_id, asked["message_sha256"])
        end = await log.end_of(saga_id)

    assert (first.tokens[4], first.body["heard"], first.body["comment"]) == ("signalled", 1, "read it")
    assert (second.tokens[4], second.body["heard"], second.body["actor"]) == ("signalled", 2, "bob")
    assert end.tokens[4] == "completed"
    announced = await log.announced(saga_id)
    assert [told.tokens[4] for told in announced] == [
        *("started", "step", "waiting", "signalled", "signalled", "step", "step", "step", "completed")
    ]
    assert [told.body["sequence"] for told in announced] == list(range(9))


async def test_who_does_not_count_is_told_why(server, services, log):
    async with coordinating(server.url, CERTIFICATE_ISSUANCE):
        saga_id = await a_certificate_that_two_must_approve(services)
        sha256 = (await waiting(log, saga_id))["message_sha256"]
        await say(log, "ada", saga_id, sha256)
        nameless = await say(log, None, saga_id, sha256)
        other = await say(log, "bob", saga_id, "1" * 64)
        unwanted = await say(log, "bob", saga_id, sha256, signal="touch")
        nowhere = await say(log, "bob", str(new_id()), sha256)
        twice = await say(log, "ada", saga_id, sha256)

    refusals = [told.body["code"] for told in (nameless, other, unwanted, nowhere)]
    assert refusals == ["not-allowed", "invalid", "conflict", "not-found"]
    assert sha256 in other.body["message"]
    assert twice.tokens[3] == "repeated"


async def test_a_root_key_signs_three_things_each_approved_by_two(server, services, log):
    steps = ("approve-root-certificate", "approve-intermediate-certificate", "approve-root-crl")
    saga_id = str(new_id())
    request = StartPkiBootstrap.model_validate({**REQUEST, "saga_id": saga_id, "approvals": 2}, strict=False)
    async with coordinating(server.url, PKI_BOOTSTRAP):
        await services.start(request)
        for step in steps:
            sha256 = (await waiting(log, saga_id, step))["message_sha256"]
            await say(log, "ada", saga_id, sha256)
            await say(log, "bob", saga_id, sha256)
        end = await log.end_of(saga_id)

    assert end.tokens[4] == "completed", end.body
    assert end.body["trust_bundle_id"]


# -- kill -9 ------------------------------------------------------------------------------------------------------


async def a_coordinator(url):
    """One as a process of its own, with all sagas."""
    environment = os.environ | {"NATS_URL": url}
    command = (sys.executable, "-m", "services.saga")
    return await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)


async def test_whatever_a_killed_coordinator_had_heard_begins_once(server, services, log):
    at = in_seconds(4)
    events = [(key_that_ends(at), lineage()) for _ in range(200)] + [
        (revoked(ocsp=True), lineage()) for _ in range(100)
    ]
    sagas = [begun_by(KEY_EXPIRY if index < 200 else OCSP_PUBLICATION, *one) for index, one in enumerate(events)]
    for event, _ in events[:200]:
        services.toys.log["key", event.key_id].append(event)
    await asyncio.gather(*(services.publish(*told) for told in events))
    killed = 0
    for _ in range(3):
        coordinator = await a_coordinator(server.url)
        await until(lambda already=killed: more_is_done(services, already))
        coordinator.kill()
        await coordinator.wait()
        killed = await done(services)
    coordinator = await a_coordinator(server.url)
    try:
        ends = await asyncio.gather(*(log.end_of(saga_id) for saga_id in sagas))
    finally:
        coordinator.kill()
        await coordinator.wait()

    assert {end.tokens[4] for end in ends} == {"completed"}
    started = [told.body["saga_id"] for told in await log.events("keys.events.saga.*.started.*")]
    assert len(started) == len(set(started))
    assert set(sagas) <= set(started)


async def done(services):
    """How many beginnings there are by now, scheduled or made."""
    timers, kept = [await services.js.stream_info(name) for name in ("KEYS_TIMERS", "KV_KEYS_SAGAS")]
    return timers.state.messages + kept.state.messages


async def more_is_done(services, than):
    return await done(services) > than + 10


async def test_revocations_of_one_second_begin_one_crl_and_it_is_made_after_all_of_them(server, services, log):
    events = [(revoked(), lineage()) for _ in range(40)]
    async with coordinating(server.url, CRL_PUBLICATION):
        for one in events:
            await services.publish(*one)
        told = await log.events("keys.events.certificate.revoked.*")
        await until(services.everything_is_processed)
        ended = await log.last_event("keys.events.saga.crl-publication.completed.*", within=10)
        await asyncio.sleep(1.5)  # whatever else had begun would have begun by now

    begun = await log.events("keys.events.saga.crl-publication.started.*")
    seconds = {event.headers["CIM-Timestamp"][:19] for event in told}
    assert len(told) == 40
    assert 1 <= len(begun) <= len(seconds) + 1
    assert begun[-1].sequence > told[-1].sequence
    assert ended.tokens[4] == "completed"
