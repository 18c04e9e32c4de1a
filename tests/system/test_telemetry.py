"""Exported telemetry of a suite: one trace a saga, correct metrics, correlated logs."""

import asyncio
import json
import os
import signal
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from shared.telemetry.spans import span_id
from tests.support.collector import collecting
from tests.support.suite import suite_up
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = {f"cim-keys-{name}" for name in ("key", "certificate", "yubikey", "saga")}
WHOLE = "saga certificate-provisioning"


@pytest.fixture(name="collector", scope="module")
def _collector():
    with collecting() as collector:
        yield collector


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(collector, tmp_path_factory):
    choices = {**collector.environment, "LOG_FORMAT": "json"}
    async with suite_up(tmp_path_factory.mktemp("suite"), [42000001, 42000002], choices=choices) as suite:
        await suite.bootstrap()
        yield suite


async def the_trace_of(collector, end):
    """The spans of the conversation that a saga's end belongs to, once all of it has been exported."""
    trace_id = UUID(end.headers["CIM-Correlation-Id"]).hex

    async def all_of_it_is_there():
        before = len(collector.of(trace_id))
        await asyncio.sleep(1.0)
        return WHOLE in {span.name for span in collector.of(trace_id)} and len(collector.of(trace_id)) == before

    await until(all_of_it_is_there, within=30)
    return collector.of(trace_id)


async def test_one_trace_shows_a_saga_from_its_command_to_its_end(suite, collector):
    end = await suite.end_of(await suite.provision(yubikey_serial="42000001"))
    assert end.tokens[4] == "completed"
    spans = await the_trace_of(collector, end)

    assert {span.service for span in spans} == SERVICES
    own = {span.span_id: span for span in spans}
    assert len(own) == len(spans)
    (root,) = (span for span in spans if span.parent_id not in own)
    assert (root.name, root.parent_id) == ("process keys.commands.saga.certificate-provisioning.start", "")
    (whole,) = (span for span in spans if span.name == WHOLE)
    assert whole.attributes["cim.outcome"] == "completed"
    assert whole.attributes["cim.saga.id"] == end.body["saga_id"]
    assert whole.began <= min(span.began for span in spans)
    steps = {span.attributes.get("cim.saga.step") for span in spans if span.name.startswith("process keys.commands.")}
    asked = {
        event.headers["CIM-Saga-Step"]
        for event in await suite.events()
        if event.headers.get("CIM-Saga-Id") == end.body["saga_id"] and event.tokens[2] != "saga"
    }
    assert steps - {None} == asked
    answers = {span.attributes.get("cim.answer") for span in spans}
    assert {"SlotPopulated", "CertificateSigned", "KeySigned", "SlotCertificateImported"} <= answers


async def test_what_a_saga_asks_points_to_what_led_to_it(suite, collector):
    end = await suite.end_of(await suite.provision(yubikey_serial="42000002"))
    spans = await the_trace_of(collector, end)
    own = {span.span_id for span in spans}
    asked = [span for span in spans if span.name.startswith("process keys.commands.") and span.links]
    assert len(asked) >= 5
    for span in asked:
        assert {(told["cim.link"], other in own) for _, other, told in span.links} == {("cause", True)}


async def test_a_trace_that_a_client_begins_is_carried_on(suite, collector):
    trace_id, parent_id, saga_id = uuid4().hex, "00f067aa0ba902b7", str(uuid4())
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01", "tracestate": "vendor=1"}
    body = {**suite.bootstrap_request, "saga_id": saga_id}
    await suite.publish("saga.pki-bootstrap.start", body, headers)
    end = await suite.end_of(saga_id)
    assert end.headers["traceparent"].startswith(f"00-{trace_id}-")

    def it_is_there():
        return "saga pki-bootstrap" in {span.name for span in collector.of(trace_id)}

    await until(it_is_there, within=30)
    assert parent_id in {span.parent_id for span in collector.of(trace_id)}


async def test_an_untrue_traceparent_hinders_nothing(suite):
    for told in ("rubbish", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-1-2-3", "00-" + "g" * 32 + "-1-01"):
        answer = await suite.ask(
            "key.generate", {"algorithm": "ed25519", "purpose": "authentication"}, {"traceparent": told}
        )
        assert answer.tokens[3] == "generated"
        assert told not in answer.headers["traceparent"]


async def test_a_retried_delivery_belongs_to_the_same_trace_and_points_to_the_one_before(suite, collector):
    command_id = str(uuid4())
    request = {"algorithm": "rsa-4096", "purpose": "certificate-signing", "key_id": str(uuid4())}
    await suite.publish("key.generate", request, {"CIM-Command-Id": command_id})
    js = suite.client.jetstream()

    async def it_is_in_hand():
        return (await js.consumer_info("KEYS_COMMANDS", "key")).num_ack_pending > 0

    await until(it_is_in_hand)
    os.kill(suite.pid("key"), signal.SIGKILL)
    await suite.last_event(f"keys.events.key.generated.{request['key_id']}", within=40)
    trace_id = UUID(command_id).hex

    def handled():
        return [span for span in collector.of(trace_id) if span.service == "cim-keys-key"]

    await until(handled, within=30)
    assert {span.attributes["nats.delivery"] for span in handled()} == {2}  # who was killed told nothing any more
    links = {
        (trace, other) for span in handled() for trace, other, told in span.links if told["cim.link"] == "redelivery"
    }
    assert links == {(trace_id, f"{span_id(UUID(command_id), 'key', 1):016x}")}


async def test_numbers_say_what_became_of_commands_sagas_devices_and_certificates(suite, collector):
    refused = await suite.ask(
        "key.sign",
        {
            "key_id": str(uuid4()),
            "message": "aGVsbG8=",
            "signature_algorithm": "ed25519",
            "purpose": "digital-signature",
        },
    )
    assert refused.body["code"] == "not-found"
    failing = await suite.end_of(await suite.provision(doomed=True, yubikey_serial="42000001", slot="9c"))
    assert failing.tokens[4] == "compensated"

    def count(name, **labels):
        return sum(point.count for point in collector.values(name, **labels))

    def value(name, **labels):
        return max((point.value for point in collector.values(name, **labels)), default=None)

    def all_is_told():
        return (
            count("cim_keys.command.duration", cim__command="key.sign", cim__code="not-found") == 1
            and count("cim_keys.command.duration", cim__command="key.generate", cim__answer="KeyGenerated") >= 5
            and count("cim_keys.saga.duration", cim__outcome="completed", cim__saga__type="certificate-provisioning")
            == 2
            and count("cim_keys.saga.duration", cim__outcome="compensated") == 1
            and count("cim_keys.device.operation.duration", cim__operation="GenerateInSlot", cim__outcome="done") >= 3
            and value("cim_keys.consumer.pending", messaging__consumer__group__name="saga-events") == 0
            and count("messaging.process.duration", messaging__destination__template="keys.events.key.generated.*") > 0
        )

    await until(all_is_told, within=60)

    def certificates(profile, within):
        return value("cim_keys.certificates", cim__profile=profile, cim__expires_within_days=within)

    signed = await suite.events("keys.events.certificate.signed.*")
    standing = sum(event.body["profile"] == "piv-authentication" for event in signed)
    assert standing == 2
    await until(lambda: certificates("piv-authentication", "365") == standing, within=40)
    assert certificates("intermediate", "more") == sum(event.body["profile"] == "intermediate" for event in signed)


async def test_labels_are_few_whatever_is_published(suite, collector):
    for _ in range(30):
        await suite.publish(f"key.{uuid4()}", {})
        await suite.publish(f"saga.{uuid4()}.start", {})
    before = len(collector.bodies)
    await until(lambda: len(collector.bodies) > before + 20, within=30)
    templates = {
        each.labels["messaging.destination.template"] for each in collector.values("messaging.process.duration")
    }
    assert {"keys.commands.key.>", "keys.commands.saga.>"} <= templates
    assert not any(token.count("-") == 4 for template in templates for token in template.split("."))


async def test_logs_are_json_and_belong_to_a_conversation_and_a_trace(suite):
    command_id, event_id = str(uuid4()), str(uuid4())
    headers = {"CIM-Event-Id": event_id, "CIM-Correlation-Id": command_id, "CIM-Causation-Id": command_id}
    headers |= {"CIM-Event-Type": "KeyGenerated", "CIM-Saga-Id": "x", "CIM-Saga-Type": "y"}
    await suite.client.jetstream().publish(f"keys.events.key.generated.{uuid4()}", b"rubbish", headers=headers)

    def of_that_conversation():
        log = suite.local.log("saga").read_text().splitlines()
        return [line for line in map(json.loads, log) if line.get("correlation_id") == command_id]

    await until(lambda: bool(of_that_conversation()), within=20)
    line = of_that_conversation()[0]
    assert (line["service"], line["level"], line["trace_id"]) == ("saga", "error", UUID(command_id).hex)
    assert "is not a KeyGenerated" in line["message"]
    for name in ("key", "certificate", "yubikey", "repository"):
        for text in suite.local.log(name).read_text().splitlines():
            assert {"timestamp", "level", "service", "logger", "message"} <= set(json.loads(text))


async def test_no_secret_leaves_with_telemetry(suite, collector):
    secrets = [path.read_bytes() for path in (suite.local.state / "secrets").iterdir()]
    assert len(secrets) == 2
    for body in collector.bodies:
        assert not any(secret in body for secret in (*secrets, b"PRIVATE KEY", b"123456", b"12345678"))


async def test_a_collector_that_is_away_hinders_neither_work_nor_end(tmp_path):
    choices = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    async with suite_up(tmp_path, [42000001], choices=choices) as suite:
        await suite.bootstrap()
        assert (await suite.end_of(await suite.provision())).tokens[4] == "completed"
        pid = suite.pid("key")
        os.kill(pid, signal.SIGTERM)
        await until(lambda: suite.pid("key") != pid, within=10)  # the supervisor starts another when it has ended
