"""subjects.yaml, streams.yaml and the code say the same."""

import re
from itertools import combinations
from typing import get_args

import pytest

from services.yubikey.core import domain
from shared.contracts import rejection
from shared.contracts.base import Command, Event
from shared.contracts.certificate import commands as certificate
from shared.contracts.certificate import events as certificate_events
from shared.contracts.certificate import nats_jwt, ocsp, ssh, trust_bundle
from shared.contracts.key import commands as key
from shared.contracts.key import events as key_events
from shared.contracts.registry import MESSAGES
from shared.contracts.saga import certificates, keys, maintenance, nats, people, protocol, provisioning
from shared.contracts.yubikey import devices, lifecycle, presence, prompts, secrets, slot_operations, slots
from shared.messages.catalog import COMMANDS, EVENTS, catalog
from shared.messages.subjects import Subject
from shared.nats.streams import consumer_config, stream_configs

SERVICES = {"key", "certificate", "yubikey", "saga"}
PEOPLE = {"operator", "auditor"}
ROUTES = {route.message: (Subject.parse(text), route) for text, route in catalog().routes.items()}
LANGUAGES = {
    "key": (key.KeyCommand, key_events.KeyEvent),
    "certificate": (certificate.CertificateCommand, certificate_events.CertificateEvent),
    "ocsp": (ocsp.OcspCommand, ocsp.OcspEvent),
    "ssh-certificate": (ssh.SshCertificateCommand, ssh.SshCertificateEvent),
    "nats-jwt": (nats_jwt.NatsJwtCommand, nats_jwt.NatsJwtEvent),
    "trust-bundle": (trust_bundle.TrustBundleCommand, trust_bundle.TrustBundleEvent),
    "yubikey": (
        domain.AnyCommand,
        domain.AnyEvent,
    ),
    "prompt": (prompts.PromptCommand, prompts.PromptEvent),
    "saga": (certificates.SagaCommand, certificates.SagaEvent),
}
MODULES = {
    "key": (key, key_events),
    "certificate": (certificate, certificate_events),
    "ocsp": (ocsp,),
    "ssh-certificate": (ssh,),
    "nats-jwt": (nats_jwt,),
    "trust-bundle": (trust_bundle,),
    "yubikey": (slots, presence, devices, lifecycle, secrets, slot_operations),
    "prompt": (prompts,),
    "saga": (protocol, certificates, keys, nats, people, provisioning, maintenance),
}
TO_ITSELF = {"ReportPresence"}
"""Commands that a service sends to itself: observations of the world, decided on like other commands."""
OUTCOMES = {kind.__name__ for kind in get_args(rejection.CommandOutcome)}

each_message = pytest.mark.parametrize("name", sorted(MESSAGES))
each_service = pytest.mark.parametrize("service", sorted(SERVICES))
each_aggregate = pytest.mark.parametrize("aggregate", sorted(LANGUAGES))


def _names(union):
    return {kind.__name__ for kind in get_args(union) or (union,)}


def _is(pattern, *tokens):
    return Subject(tokens).covers(pattern)


def test_every_message_has_one_line_and_every_line_a_message():
    assert ROUTES.keys() == MESSAGES.keys()


def test_every_message_of_a_service_is_in_the_language_of_all():
    told = {name for commands, events in LANGUAGES.values() for name in _names(commands) | _names(events)}

    assert told | OUTCOMES == MESSAGES.keys()


@each_aggregate
def test_every_message_that_a_contract_module_defines_is_in_its_union(aggregate):
    defined = {
        kind.__name__
        for module in MODULES[aggregate]
        for kind in vars(module).values()
        if isinstance(kind, type)
        and kind.__module__ == module.__name__
        and issubclass(kind, Command | Event)
        and not kind.__name__.startswith("_")
        and (kind.__name__ in MESSAGES or not _is_a_parent(kind))
    }

    assert defined == _names(LANGUAGES[aggregate][0]) | _names(LANGUAGES[aggregate][1])


def _is_a_parent(kind):
    return any(issubclass(other, kind) for other in MESSAGES.values())


@each_service
def test_a_service_answers_exactly_the_commands_that_its_lines_give_it(service):
    mine = [commands for commands, _ in LANGUAGES.values() if _answered_by(commands) == {service}]
    commands = {name for each in mine for name in _names(each)}

    assert commands == {name for name, (_, route) in ROUTES.items() if _reads(service, name, route)}
    assert commands == {catalog().commands[subject] for subject in catalog().commands_of(service)}


def _answered_by(commands):
    return {MESSAGES[name].answered_by() for name in _names(commands)}


def _reads(service, name, route):
    return issubclass(MESSAGES[name], Command) and service in route.readers


@each_message
def test_a_message_travels_under_its_aggregate(name):
    pattern, _ = ROUTES[name]
    kind = MESSAGES[name]
    root = COMMANDS if issubclass(kind, Command) else EVENTS

    assert (root + Subject((kind.aggregate_type, ">"))).covers(pattern)


@each_message
def test_a_command_has_one_subject_and_an_event_one_an_aggregate(name):
    pattern, _ = ROUTES[name]

    if issubclass(MESSAGES[name], Command):
        assert pattern.literal
    else:
        assert pattern.tokens[-1] == "*"
        assert ">" not in pattern.tokens


@each_message
def test_only_the_owner_reads_a_command_and_only_the_owner_publishes_an_event(name):
    _, route = ROUTES[name]
    owner = MESSAGES[name].answered_by()

    if issubclass(MESSAGES[name], Command):
        assert route.readers == {owner}
        assert route.publishers == {owner} if name in TO_ITSELF else route.publishers <= {"operator", "saga"}
    elif name in OUTCOMES:
        assert route.publishers == SERVICES
    else:
        assert route.publishers == {owner}


@each_message
def test_every_event_is_read_by_the_auditor_and_nobody_unknown_says_or_reads_anything(name):
    _, route = ROUTES[name]

    assert route.publishers <= SERVICES | {"operator"}
    assert route.readers <= SERVICES | PEOPLE
    assert issubclass(MESSAGES[name], Command) or "auditor" in route.readers


@each_message
def test_services_meet_only_through_the_coordinator(name):
    _, route = ROUTES[name]

    for service in SERVICES - {"saga"} if name not in TO_ITSELF else ():
        assert service not in route.publishers or service not in route.readers
        assert service not in route.readers or route.publishers <= {"operator", "saga"}


def test_no_two_messages_share_a_subject():
    shared = [
        (one, other) for one, other in combinations(sorted(ROUTES), 2) if ROUTES[one][0].overlaps(ROUTES[other][0])
    ]

    assert shared == []


@each_message
def test_an_events_name_and_its_subject_are_the_same_words(name):
    pattern, _ = ROUTES[name]
    kind = MESSAGES[name]
    words = re.findall("[A-Z][a-z]+", name)
    said = [token for token in pattern.tokens[2:] if token != "*"]

    last = "step" if name == "SagaStepFinished" else said[-1]
    if issubclass(kind, Event):
        assert "-".join(words).lower().endswith(last.split("-")[-1]) or name == "SagaStepFinished"


def test_every_saga_that_can_be_started_can_complete():
    started = {
        pattern.tokens[3] for name, (pattern, _) in ROUTES.items() if issubclass(MESSAGES[name], protocol.StartSaga)
    }
    completed = {pattern.tokens[3] for pattern, _ in map(ROUTES.get, _names(certificates.SagaCompleted))}

    assert started == completed


# --- streams.yaml ------------------------------------------------------------------


def test_what_happened_never_ages_out_and_is_never_taken_back():
    events = stream_configs(catalog())["KEYS_EVENTS"]

    assert events["retention"] == "limits"
    assert events["max_age"] == 0
    assert events["max_msgs"] == events["max_bytes"] == events["max_msgs_per_subject"] == -1
    assert events["deny_delete"]
    assert events["deny_purge"]
    assert events["storage"] == "file"


@pytest.mark.parametrize("name", ["KEYS_COMMANDS", "KEYS_EVENTS"])
def test_nobody_can_schedule_or_roll_up_commands_and_events(name):
    config = stream_configs(catalog())[name]

    assert config["allow_msg_schedules"] is False
    assert config["allow_rollup_hdrs"] is False


def test_only_timers_may_be_scheduled():
    assert {name for name, stream in catalog().streams.items() if stream.allow_msg_schedules} == {"KEYS_TIMERS"}


def test_no_bucket_can_be_rolled_up_or_aged_out():
    buckets = {name: config for name, config in stream_configs(catalog()).items() if name.startswith("KV_")}

    assert buckets.keys() == {f"KV_{name}" for name in catalog().buckets}
    assert all(config["allow_rollup_hdrs"] is False for config in buckets.values())
    assert all(config["max_age"] == 0 for config in buckets.values())


def test_an_overwritten_secret_stays_until_it_is_erased():
    assert catalog().buckets["KEYS_SECRETS"].history == 2


@pytest.mark.parametrize("name", ["KEYS_COMMANDS", "KEYS_EVENTS"])
def test_what_is_told_again_within_two_minutes_is_recognised(name):
    assert catalog().streams[name].duplicate_window == 120


def _bound():
    """Subjects of the streams; those of buckets ($KV.…) are not in the algebra."""
    configs = stream_configs(catalog())
    return {name: [Subject.parse(text) for text in configs[name]["subjects"]] for name in catalog().streams}


def test_no_subject_is_in_two_streams():
    bound = [(name, pattern) for name, patterns in _bound().items() for pattern in patterns]

    assert [(a, b) for (a, one), (b, other) in combinations(bound, 2) if one.overlaps(other)] == []


@each_message
def test_every_message_is_in_exactly_one_stream(name):
    pattern, _ = ROUTES[name]

    holding = [stream for stream, bound in _bound().items() if any(held.covers(pattern) for held in bound)]

    assert holding == ["KEYS_COMMANDS" if issubclass(MESSAGES[name], Command) else "KEYS_EVENTS"]


def _filters(stream):
    return [
        (durable, Subject.parse(text))
        for durable, consumer in catalog().consumers.items()
        if consumer.stream == stream
        for text in consumer.filters
    ]


@pytest.mark.parametrize("stream", ["KEYS_COMMANDS", "KEYS_TIMERS"])
def test_the_consumers_of_a_work_queue_take_nothing_from_one_another(stream):
    assert [pair for pair in combinations(_filters(stream), 2) if pair[0][1].overlaps(pair[1][1])] == []


@pytest.mark.parametrize("text", sorted(catalog().commands))
def test_every_command_is_consumed_by_the_service_that_reads_it(text):
    subject = Subject.parse(text)
    consuming = {durable for durable, pattern in _filters("KEYS_COMMANDS") if pattern.covers(subject)}

    assert consuming == set(catalog().routes[text].readers)


def test_whatever_is_in_the_command_stream_is_consumed_by_somebody():
    for bound in _bound()["KEYS_COMMANDS"]:
        assert any(pattern.covers(bound) for _, pattern in _filters("KEYS_COMMANDS"))


def test_the_coordinator_hears_every_event_that_it_may_read_and_none_of_its_own():
    heard = [pattern for durable, pattern in _filters("KEYS_EVENTS") if durable == "saga-events"]

    for name, (pattern, route) in ROUTES.items():
        if issubclass(MESSAGES[name], Event):
            assert any(filter_.covers(pattern) for filter_ in heard) == ("saga" in route.readers), name


@pytest.mark.parametrize("durable", sorted(catalog().consumers))
def test_no_consumer_gives_a_message_up_in_silence(durable):
    config = consumer_config(catalog(), durable)

    assert config["max_deliver"] == -1
    assert config["ack_policy"] == "explicit"
    assert 2 <= config["ack_wait"] / 1e9 <= 5
    assert catalog().consumers[durable].stream in catalog().streams
