"""Every line of the catalog for every role, and a list of attacks with each role's credentials, on a real server."""

import asyncio
import json

import nats.errors
import pytest
import pytest_asyncio
from nats.js.api import ConsumerConfig

from deploy.nats_users import seed_file, write_users
from shared.messages.catalog import EVENTS, catalog
from shared.messages.permissions import permissions_of, roles
from shared.messages.subjects import Subject
from shared.nats.connection import Access
from shared.nats.ordered_consumer import ordered_subscribe
from tests.support.secured_server import secured_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = {text: Subject.parse(text) for text in catalog().routes}
SERVICES = ["key", "certificate", "yubikey", "saga"]
ALL = list(roles(catalog()))
API = "$JS.API"
STREAMS = ["KEYS_COMMANDS", "KEYS_EVENTS", "KEYS_TIMERS", *(f"KV_{name}" for name in catalog().buckets)]


def everybody_but(*named):
    return [role for role in ALL if role not in named]


def attacks():
    """Returns forbidden publishes and subscriptions by role."""
    yield from forging()
    yield from writing()
    yield from prying()
    yield from reconfiguring()
    yield from anybody_s()
    yield from spying()
    yield from consuming()


def forging():
    yield from ((role, "publish", "keys.commands.key.sign") for role in everybody_but("saga"))
    yield from ((role, "publish", "keys.commands.key.sign-batch") for role in everybody_but("saga"))
    yield from ((role, "publish", "keys.events.key.generated.1") for role in everybody_but("key"))
    yield from ((role, "publish", "keys.events.certificate.signed.1") for role in everybody_but("certificate"))
    yield from ((role, "publish", "keys.events.yubikey.attested.1") for role in everybody_but("yubikey"))
    yield from ((role, "publish", "keys.events.saga.pki-bootstrap.completed.1") for role in everybody_but("saga"))
    yield from ((role, "publish", "keys.timers.1.due") for role in everybody_but("saga"))
    yield from ((role, "publish", "keys.events.key.made-up.1") for role in ALL)
    yield from ((role, "publish", "keys.commands.key.generate.more") for role in ALL)
    yield from ((role, "publish", "elsewhere") for role in ALL)


def writing():
    yield from ((role, "publish", "$KV.KEYS_SECRETS.key.1") for role in everybody_but("key"))
    yield from ((role, "publish", "$KV.KEYS_DEVICES.1.lease") for role in everybody_but("yubikey"))
    yield from ((role, "publish", "$KV.KEYS_SAGAS.pki-bootstrap.1") for role in everybody_but("saga"))
    yield from ((role, "publish", "$KV.KEYS_VIEWS.crl.1") for role in everybody_but("certificate"))
    yield from ((role, "publish", "$KV.KEYS_SNAPSHOTS.key.1") for role in everybody_but("key"))
    yield from ((role, "publish", "$KV.KEYS_SNAPSHOTS.certificate.1") for role in everybody_but("certificate"))
    yield from ((role, "publish", "$KV.KEYS_DEAD_LETTERS.KEYS_COMMANDS.key.1") for role in everybody_but("key"))


def prying():
    """The secrets: by message, by look-up, by consumer, by copy; and done away with."""
    for role in everybody_but("key"):
        yield role, "publish", f"{API}.STREAM.MSG.GET.KV_KEYS_SECRETS"
        yield role, "publish", f"{API}.DIRECT.GET.KV_KEYS_SECRETS"
        yield role, "publish", f"{API}.DIRECT.GET.KV_KEYS_SECRETS.$KV.KEYS_SECRETS.key.1"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KV_KEYS_SECRETS"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KV_KEYS_SECRETS.spy"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KV_KEYS_SECRETS.spy.$KV.KEYS_SECRETS.>"
        yield role, "publish", f"{API}.CONSUMER.DURABLE.CREATE.KV_KEYS_SECRETS.spy"
        yield role, "publish", f"{API}.STREAM.MSG.DELETE.KV_KEYS_SECRETS"
    for role in everybody_but("backup"):
        yield role, "publish", f"{API}.STREAM.SNAPSHOT.KV_KEYS_SECRETS"
        yield role, "publish", f"{API}.STREAM.RESTORE.KV_KEYS_SECRETS"


def reconfiguring():
    for role in everybody_but("provisioner"):
        for stream in STREAMS:
            yield role, "publish", f"{API}.STREAM.UPDATE.{stream}"
            yield role, "publish", f"{API}.STREAM.PURGE.{stream}"
        yield role, "publish", f"{API}.CONSUMER.DELETE.KEYS_EVENTS.views"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_EVENTS.views"
        yield role, "publish", f"{API}.CONSUMER.DURABLE.CREATE.KEYS_EVENTS.views"
        yield role, "publish", f"{API}.STREAM.CREATE.KEYS_EVENTS"
        for durable in ("saga-events", "views"):
            yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_EVENTS.{durable}.keys.events.key.>"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_EVENTS.saga-events"


def anybody_s():
    for role in ALL:
        yield role, "publish", f"{API}.STREAM.CREATE.EXFILTRATION"  # a mirror or source of anything
        yield role, "publish", f"{API}.STREAM.DELETE.KEYS_EVENTS"
        yield role, "publish", f"{API}.STREAM.MSG.DELETE.KEYS_EVENTS"
        yield role, "publish", f"{API}.STREAM.MSG.GET.KEYS_COMMANDS"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_COMMANDS"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_COMMANDS.spy.keys.commands.key.>"
        yield role, "publish", f"{API}.CONSUMER.CREATE.KEYS_EVENTS"
        yield role, "publish", f"{API}.CONSUMER.MSG.NEXT.KEYS_EVENTS.spy"
        yield role, "publish", f"{API}.CONSUMER.PAUSE.KEYS_COMMANDS.key"
        yield role, "publish", f"{API}.CONSUMER.DELETE.KEYS_COMMANDS.key"
        yield role, "publish", f"{API}.SERVER.REMOVE"
        yield role, "publish", "$SYS.REQ.SERVER.PING"
        yield role, "publish", f"_INBOX.{'key' if role != 'key' else 'saga'}.answer"


def spying():
    for role in ALL:
        yield role, "subscribe", "$SYS.>"
        yield role, "subscribe", ">"
        yield role, "subscribe", "_INBOX.>"
        yield role, "subscribe", f"_INBOX.{'key' if role != 'key' else 'saga'}.>"
        yield role, "subscribe", "$KV.>"
        yield role, "subscribe", "$JS.>"
        yield role, "subscribe", "keys.>"
        yield role, "subscribe", "keys.commands.>"
        yield role, "subscribe", "keys.timers.>"
    for role in everybody_but("operator", "auditor"):
        yield role, "subscribe", "keys.events.>"


def consuming():
    for durable, consumer in catalog().consumers.items():
        for role in everybody_but(consumer.reader):
            yield role, "publish", f"{API}.CONSUMER.MSG.NEXT.{consumer.stream}.{durable}"
            yield role, "publish", f"$JS.ACK.{consumer.stream}.{durable}.1.1.1.1.0"
        for role in everybody_but(consumer.reader):
            yield role, "subscribe", f"$KEYS.{durable}.hand-back"
    for role in everybody_but("yubikey"):
        yield role, "publish", "$KEYS.yubikey.1.handle"
        yield role, "subscribe", "$KEYS.yubikey.*.handle"


@pytest_asyncio.fixture(name="clients_by_role", scope="module", loop_scope="module")
async def _impostors(tmp_path_factory):
    async with secured_server(tmp_path_factory.mktemp("secured")) as clients_by_role:
        yield clients_by_role


async def ask(role_client, subject, **request):
    answer = await role_client.client.request(subject, json.dumps(request).encode(), timeout=5)
    return json.loads(answer.data)


@pytest.mark.parametrize("role", ALL)
async def test_a_role_publishes_what_its_lines_say_and_nothing_more(clients_by_role, role):
    filled = {text: ".".join("1" if token == "*" else token for token in line.tokens) for text, line in LINES.items()}
    for subject in filled.values():
        await clients_by_role[role].client.publish(subject, b"{}")

    refused = {subject for verb, subject in await clients_by_role[role].violations() if verb == "publish"}

    must_not = {filled[text] for text, route in catalog().routes.items() if role not in route.publishers}
    assert refused & set(filled.values()) == must_not


@pytest.mark.parametrize("role", ALL)
async def test_people_hear_what_their_lines_say_and_services_their_consumers_only(clients_by_role, role):
    for text in LINES:
        await (await clients_by_role[role].client.subscribe(text)).unsubscribe()

    refused = {subject for verb, subject in await clients_by_role[role].violations() if verb == "subscription"}

    hears = set() if role in SERVICES else {text for text, route in catalog().routes.items() if role in route.readers}
    assert refused & LINES.keys() == LINES.keys() - hears


@pytest.mark.parametrize("role", ALL)
async def test_no_attack_with_a_role_s_own_credentials_gets_through(clients_by_role, role):
    tried = {(verb, subject) for who, verb, subject in attacks() if who == role}
    for verb, subject in tried:
        if verb == "publish":
            await clients_by_role[role].client.publish(subject, b"{}")
        else:
            await clients_by_role[role].client.subscribe(subject)

    refused = await clients_by_role[role].violations()

    wanted = {("publish" if verb == "publish" else "subscription", subject.lower()) for verb, subject in tried}
    assert len(wanted) > 50
    assert wanted - refused == set()


async def test_nobody_comes_without_credentials_or_with_a_seed_that_is_nobody_s(clients_by_role, tmp_path):
    write_users(tmp_path)
    url = clients_by_role["key"].client.connected_url.geturl()
    with pytest.raises((nats.errors.Error, OSError)):
        await Access().connect(url, "key", allow_reconnect=False, error_cb=quiet)
    with pytest.raises((nats.errors.Error, OSError)):
        await Access(nkey=seed_file(tmp_path, "key")).connect(url, "key", allow_reconnect=False, error_cb=quiet)


@pytest.mark.parametrize("role", ["operator", "auditor", "key", "certificate"])
@pytest.mark.parametrize("field", ["durable_name", "name"])
async def test_reading_the_log_in_order_takes_over_no_consumer(clients_by_role, role, field):
    """The server lets the subject name one consumer and the request another only where it refuses that."""
    config = {
        field: "saga-events",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "filter_subject": "keys.events.x",
    }
    request = {"stream_name": "KEYS_EVENTS", "config": config, "action": "update"}

    answer = await ask(clients_by_role[role], f"{API}.CONSUMER.CREATE.KEYS_EVENTS.spy.keys.events.x", **request)

    assert "error" in answer
    stands = await ask(clients_by_role["saga"], f"{API}.CONSUMER.INFO.KEYS_EVENTS.saga-events")
    assert sorted(stands["config"]["filter_subjects"]) == sorted(catalog().consumers["saga-events"].filters)


async def test_what_is_read_in_order_goes_on_where_something_was_lost(clients_by_role):
    """nats-py begins such a consumer anew, and under the same name it could not."""
    client = clients_by_role["certificate"].client
    for number in range(3):
        await client.jetstream().publish(f"keys.events.certificate.checked.{number}", b"{}")
    subscription = await ordered_subscribe(
        client.jetstream(), "KEYS_EVENTS", "keys.events.certificate.checked.>", ConsumerConfig()
    )
    first = await subscription.next_msg(timeout=5)

    reading = subscription._sub._jsi  # noqa: SLF001 - where nats-py begins anew
    await reading.reset_ordered_consumer(first.metadata.sequence.stream)

    async with asyncio.timeout(10):
        while (await subscription.next_msg(timeout=5)).metadata.sequence.consumer != 1:
            pass
    await subscription.unsubscribe()


async def test_the_log_is_not_delivered_into_itself(clients_by_role):
    """A consumer delivers wherever it is told; not onto subjects of its own stream, where it would forge events."""
    config = {
        "name": "spy",
        "deliver_subject": "keys.events.key.generated.2",
        "deliver_policy": "all",
        "ack_policy": "none",
    }

    answer = await ask(
        clients_by_role["operator"], f"{API}.CONSUMER.CREATE.KEYS_EVENTS.spy", stream_name="KEYS_EVENTS", config=config
    )

    assert "cycle" in answer["error"]["description"]


async def test_every_role_is_allowed_something_and_nobody_everything():
    for role in ALL:
        allowed = permissions_of(role, catalog())
        assert allowed.publish
        assert not {">", "$JS.API.>", "$JS.>", "keys.>"} & {*allowed.publish, *allowed.subscribe}
    with pytest.raises(KeyError):
        permissions_of("stranger", catalog())


async def test_only_the_coordinator_and_the_views_hear_events_by_a_consumer():
    events = EVENTS + Subject((">",))
    for durable, consumer in catalog().consumers.items():
        for text in consumer.filters:
            if events.covers(Subject.parse(text)):
                assert consumer.reader == ("certificate" if durable == "views" else "saga")


async def quiet(_):
    await asyncio.sleep(0)
