"""Events of the main job: their headers, their causal tree, and the sagas' announcements."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from uuid import UUID

import pytest
import pytest_asyncio

from shared.contracts.registry import MESSAGES
from shared.messages.ids import new_id
from shared.nats.client import flush_subscriptions
from tests.support.suite import ENDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUIRED = {
    "CIM-Event-Id",
    "CIM-Correlation-Id",
    "CIM-Causation-Id",
    "CIM-Event-Type",
    "CIM-Aggregate-Id",
    "CIM-Aggregate-Type",
    "CIM-Timestamp",
    "CIM-Source",
    "CIM-Actor",
    "CIM-Schema-Version",
    "CIM-Content-Type",
    "Nats-Msg-Id",
}
AUTHORITY = {"common_name": "Another CA", "algorithm": "ec-p256", "validity_days": 3650}
PROVISIONING = {
    "subject": {"common_name": "Bob"},
    "purpose": "authentication",
    "key_origin": "on-device",
    "validity_days": 365,
}
SAGAS = {
    "bootstrap": ("pki-bootstrap", {"organization": "Acme", "root": AUTHORITY, "intermediate": AUTHORITY}),
    "on-device": ("certificate-provisioning", {**PROVISIONING, "yubikey_serial": "42000001"}),
    "imported": (
        "certificate-provisioning",
        {**PROVISIONING, "key_origin": "imported", "purpose": "key-management", "yubikey_serial": "42000002"},
    ),
    "undone": ("certificate-provisioning", {**PROVISIONING, "yubikey_serial": "42000003", "doomed": True}),
}
COMPLETED = {
    "pki-bootstrap": {
        "root_certificate_id",
        "intermediate_certificate_id",
        "root_certificate_pem",
        "intermediate_certificate_pem",
        "trust_bundle_id",
    },
    "certificate-provisioning": {"key_id", "certificate_id", "slot", "fingerprint_sha256", "certificate_pem"},
}
STANDARD = {
    "started": {"definition_version", "steps", "request", "began_at", "triggered", "parent"},
    "step": {"step", "attempts"},
    "compensating": {"step", "code", "reason", "steps_to_undo"},
    "compensated": {"reason", "undone"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="told")
async def _told(suite):
    """Every saga once, with all the commands that were heard meanwhile, and then every event there is."""
    commands, sagas, doomed = [], {}, await suite.doomed_issuer()

    async def hear(message):
        commands.append((message.subject, dict(message.headers or {}), json.loads(message.data)))

    listening = await suite.client.subscribe("keys.commands.>", cb=hear)
    for name, (saga_type, body) in SAGAS.items():
        start, saga_id = str(new_id()), str(new_id())
        body = dict(body)  # noqa: PLW2901 - one key of it is ours
        issuer = {"issuer_id": doomed if body.pop("doomed", False) else suite.issuer_id}
        issuer = issuer if saga_type != "pki-bootstrap" else {}
        headers = {"CIM-Command-Id": start, "CIM-Actor": "ada"}
        await suite.publish(f"saga.{saga_type}.start", {**body, **issuer, "saga_id": saga_id}, headers)
        await suite.end_of(saga_id)
        sagas[name] = (start, saga_id)
    await listening.unsubscribe()
    return sagas, commands, await suite.events()


async def test_every_event_has_every_header_of_the_contract(told):
    for event in told[2]:
        headers = event.headers
        assert set(headers) >= REQUIRED, event.subject
        assert headers["Nats-Msg-Id"] == headers["CIM-Event-Id"]
        assert UUID(headers["CIM-Event-Id"]).version == 7
        assert headers["CIM-Timestamp"].endswith("Z")
        datetime.fromisoformat(headers["CIM-Timestamp"])
        assert headers["CIM-Source"] in {"key", "certificate", "yubikey", "saga"}
        assert (headers["CIM-Schema-Version"], headers["CIM-Content-Type"]) == ("1", "application/json")
        assert headers["CIM-Aggregate-Id"] == event.tokens[-1]
        assert headers["CIM-Aggregate-Type"] == event.tokens[2]


async def test_every_event_is_what_its_type_says_and_is_nothing_else(told):
    for event in told[2]:
        message = MESSAGES[event.headers["CIM-Event-Type"]].model_validate_json(json.dumps(event.body))
        assert message.model_dump(mode="json") == event.body


@pytest.mark.parametrize("name", SAGAS)
async def test_a_saga_is_one_conversation_whose_tree_grows_from_its_start(told, name):
    sagas, commands, events = told
    start, saga_id = sagas[name]
    said = [
        (headers.get("CIM-Command-Id"), headers)
        for _, headers, body in commands
        if headers.get("CIM-Saga-Id") == saga_id
    ]
    heard = [(event.headers["CIM-Event-Id"], event.headers) for event in events if _of(saga_id, event)]
    cause_of = {message_id: headers["CIM-Causation-Id"] for message_id, headers in said + heard}

    assert len(said) > 3
    assert {headers["CIM-Correlation-Id"] for _, headers in said + heard} == {start}
    assert {headers["CIM-Actor"] for _, headers in said + heard} == {"ada"}
    for message_id in cause_of:
        path = [message_id]
        while path[-1] != start:
            path.append(cause_of[path[-1]])
            assert len(path) == len(set(path)), "a circle"


@pytest.mark.parametrize("name", SAGAS)
async def test_what_a_saga_asked_for_says_which_saga_and_which_step(told, name):
    sagas, commands, events = told
    asked = {
        headers["CIM-Command-Id"]: headers["CIM-Saga-Step"]
        for _, headers, _ in commands
        if headers.get("CIM-Saga-Id") == sagas[name][1]
    }
    answers = [event for event in events if _of(sagas[name][1], event) and event.tokens[2] != "saga"]

    assert Counter(event.headers["CIM-Causation-Id"] for event in answers) == Counter(list(asked))
    for event in answers:
        assert event.headers["CIM-Saga-Step"] == asked[event.headers["CIM-Causation-Id"]]


@pytest.mark.parametrize("name", SAGAS)
async def test_a_saga_announces_itself_without_gaps_and_ends_once(suite, told, name):
    announced = await suite.announced(told[0][name][1])
    kinds = [event.tokens[4] for event in announced]

    assert [event.body["sequence"] for event in announced] == list(range(len(announced)))
    assert kinds[0] == "started"
    assert [kind for kind in kinds if kind in ENDS] == kinds[-1:]
    assert kinds[-1] == ("compensated" if name == "undone" else "completed")
    assert ("compensating" in kinds) == (name == "undone")
    steps = [event.body["step"] for event in announced if event.tokens[4] == "step"]
    assert [event.tokens[5] for event in announced if event.tokens[4] == "step"] == steps
    if name != "undone":
        assert steps == announced[0].body["steps"]


@pytest.mark.parametrize("name", SAGAS)
async def test_announcements_have_exactly_the_fields_of_the_contract(suite, told, name):
    for event in await suite.announced(told[0][name][1]):
        kind = event.tokens[4]
        fields = COMPLETED[event.tokens[3]] if kind == "completed" else STANDARD[kind]
        assert set(event.body) == fields | {"saga_id", "saga_type", "sequence"}
        assert (event.body["saga_type"], event.body["saga_id"]) == (event.tokens[3], event.tokens[-1])


async def test_a_users_command_needs_no_header_and_gets_ids_that_follow_from_the_stream(suite):
    inbox = await suite.client.subscribe("keys.events.key.generated.*")
    stored = await suite.client.jetstream().publish("keys.commands.key.generate", b'{"algorithm":"ec-p256"}')
    message = await inbox.next_msg(timeout=20)
    await inbox.unsubscribe()
    headers = message.headers

    assert stored.stream == "KEYS_COMMANDS"
    assert headers["CIM-Correlation-Id"] == headers["CIM-Causation-Id"]
    assert UUID(headers["CIM-Causation-Id"]).version == 7
    assert headers["CIM-Actor"] == "anonymous"
    assert UUID(json.loads(message.data)["key_id"]).version == 7
    assert set(headers) >= REQUIRED


async def test_the_very_same_command_published_twice_leads_to_one_event(suite):
    js, command_id = suite.client.jetstream(), str(new_id())
    for _ in range(2):  # without Nats-Msg-Id: the stream keeps both
        await js.publish(
            "keys.commands.key.generate", b'{"algorithm":"ec-p256"}', headers={"CIM-Command-Id": command_id}
        )
    await suite.ask("key.generate", {"algorithm": "ec-p256"})
    await _nothing_left_to_do(suite)

    caused = [event for event in await suite.events() if event.headers["CIM-Causation-Id"] == command_id]
    assert [event.tokens[2:4] for event in caused] == [["key", "generated"]]


async def test_the_subjects_are_those_of_the_contract(told):
    for event in told[2]:
        assert len(event.tokens) == (7 if event.tokens[4:5] == ["step"] else 6 if event.tokens[2] == "saga" else 5)


async def _nothing_left_to_do(suite):
    while (await suite.client.jetstream().stream_info("KEYS_COMMANDS")).state.messages:
        await flush_subscriptions(suite.client)


def _of(saga_id, event):
    return event.headers.get("CIM-Saga-Id") == saga_id
