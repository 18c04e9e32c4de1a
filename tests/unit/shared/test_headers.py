"""Lineage headers: inherited, derived and rejected values (docs/contract.md, section 2)."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Poison
from shared.messages.headers import Lineage, SagaContext, command_lineage, event_lineage, to_headers
from shared.messages.ids import derive_id

STORED = UUID("0192f0c1-0000-7000-8000-00000000abcd")
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
TRACES = st.sampled_from(
    [
        (),
        (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),),
        (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tracestate", "vendor=1")),
    ]
)
LINEAGES = st.builds(
    Lineage,
    message_id=st.uuids(),
    correlation_id=st.uuids(),
    causation_id=st.uuids(),
    actor=WORDS,
    saga=st.none() | st.builds(SagaContext, TOKENS, TOKENS, WORDS),
    trace=TRACES,
)


@given(LINEAGES, WORDS)
def test_what_a_message_leads_to_names_it_as_its_cause_and_inherits_the_rest(lineage, consequence):
    caused = lineage.cause(consequence)

    assert caused.causation_id == lineage.message_id
    assert caused.message_id == derive_id(lineage.message_id, consequence)
    assert caused.correlation_id == lineage.correlation_id
    assert caused.actor == lineage.actor
    assert caused.saga == lineage.saga
    assert caused.trace == lineage.trace


@given(LINEAGES, st.lists(WORDS, min_size=1, max_size=5))
def test_a_whole_conversation_has_one_correlation_and_one_actor(lineage, consequences):
    last = lineage
    for consequence in consequences:
        last = last.cause(consequence)

    assert (last.correlation_id, last.actor, last.saga) == (lineage.correlation_id, lineage.actor, lineage.saga)


@given(st.uuids(), WORDS)
def test_a_root_names_itself(message_id, actor):
    root = Lineage.root(message_id, actor)

    assert (root.message_id, root.correlation_id, root.causation_id) == (message_id, message_id, message_id)
    assert root.actor == actor


@given(LINEAGES)
def test_a_command_reads_back_as_it_was_written(lineage):
    headers = to_headers(lineage, "Command", "GenerateKey", "console", 1)

    assert command_lineage(headers, STORED) == lineage


@given(LINEAGES)
def test_an_event_reads_back_as_it_was_written_but_for_its_trace(lineage):
    headers = to_headers(lineage, "Event", "KeyGenerated", "key", 1)
    read = event_lineage(headers)

    assert (read.message_id, read.correlation_id, read.causation_id) == (
        lineage.message_id,
        lineage.correlation_id,
        lineage.causation_id,
    )
    assert (read.actor, read.saga) == (lineage.actor, lineage.saga)


@given(LINEAGES, st.sampled_from(["Event", "Command"]))
def test_every_header_is_one_line_of_text_and_the_message_id_is_the_key_of_de_duplication(lineage, kind):
    headers = to_headers(lineage, kind, "KeyGenerated", "key", 3)

    assert all(isinstance(value, str) and "\n" not in value for value in headers.values())
    assert headers["Nats-Msg-Id"] == headers[f"CIM-{kind}-Id"] == str(lineage.message_id)
    assert headers[f"CIM-{kind}-Type"] == "KeyGenerated"
    assert headers["CIM-Source"] == "key"
    assert headers["CIM-Schema-Version"] == "3"
    assert headers["CIM-Content-Type"] == "application/json"
    assert headers["CIM-Timestamp"].endswith("Z")


def test_a_command_without_any_header_is_the_root_of_its_conversation():
    assert command_lineage({}, STORED) == Lineage.root(STORED, "anonymous")


def test_what_a_command_leaves_out_follows_from_its_own_id():
    chosen = UUID("0192f0c1-0000-7000-8000-000000000001")

    lineage = command_lineage({"CIM-Command-Id": str(chosen)}, STORED)

    assert lineage == Lineage.root(chosen)


def test_a_command_that_names_no_actor_was_asked_by_its_source():
    assert command_lineage({"CIM-Source": "cron"}, STORED).actor == "cron"
    assert command_lineage({"CIM-Source": "cron", "CIM-Actor": "alice"}, STORED).actor == "alice"


NO_UUIDS = ["", " ", "7", "not-a-uuid", "0192f0c1-0000-7000-8000-00000000000", "0192f0c1-0000-7000-8000-00000000000g"]


@pytest.mark.parametrize("name", ["CIM-Command-Id", "CIM-Correlation-Id", "CIM-Causation-Id"])
@pytest.mark.parametrize("text", NO_UUIDS)
def test_a_commands_malformed_id_is_refused_by_the_name_of_its_header(name, text):
    with pytest.raises(Poison, match=name):
        command_lineage({name: text}, STORED)


@pytest.mark.parametrize("name", ["CIM-Event-Id", "CIM-Correlation-Id", "CIM-Causation-Id"])
@pytest.mark.parametrize("text", [*NO_UUIDS, None])
def test_an_events_malformed_or_missing_id_is_refused_by_the_name_of_its_header(name, text):
    headers = to_headers(Lineage.root(STORED), "Event", "KeyGenerated", "key", 1)
    headers = {key: value for key, value in headers.items() if key != name}
    if text is not None:
        headers[name] = text

    with pytest.raises(Poison, match=name):
        event_lineage(headers)


@given(st.text(min_size=8, alphabet="qwxyz"), st.sampled_from(["CIM-Command-Id", "CIM-Correlation-Id"]))
def test_what_was_sent_as_an_id_is_not_repeated(secret, name):
    with pytest.raises(Poison) as refused:
        command_lineage({name: secret}, STORED)

    assert secret not in str(refused.value)


@pytest.mark.parametrize("actor", ["a" * 257, "two\nlines", "bell\x07", "\x00"])
def test_an_actor_that_no_log_could_show_is_refused(actor):
    with pytest.raises(Poison, match="CIM-Actor"):
        command_lineage({"CIM-Actor": actor}, STORED)


def test_an_actor_may_have_a_name_in_any_script():
    assert command_lineage({"CIM-Actor": "Jürgen 張"}, STORED).actor == "Jürgen 張"


@pytest.mark.parametrize("name", ["CIM-Saga-Id", "CIM-Saga-Type", "CIM-Saga-Step"])
@pytest.mark.parametrize("value", ["s" * 257, "two\nlines", "\x00"])
def test_a_saga_that_no_header_could_carry_on_is_refused_by_the_name_of_its_header(name, value):
    headers = {"CIM-Saga-Id": "0192f0c1-0000-7000-8000-000000000001", name: value}

    with pytest.raises(Poison, match=name):
        command_lineage(headers, STORED)


@pytest.mark.parametrize("name", ["traceparent", "tracestate"])
@pytest.mark.parametrize("value", ["t" * 513, "two\nlines", "\x00"])
def test_a_trace_that_no_header_could_carry_on_is_left_out(name, value):
    assert command_lineage({name: value}, STORED).trace == ()


@pytest.mark.parametrize("name", ["CIM-Saga-Id", "CIM-Saga-Type"])
@pytest.mark.parametrize("value", ["*", ">", "a.b", "two words"])
def test_a_saga_is_named_by_tokens_of_a_subject(name, value):
    with pytest.raises(Poison, match=f"header {name} must be one subject token"):
        command_lineage({"CIM-Saga-Id": "s1", "CIM-Saga-Type": "some-saga", name: value}, STORED)
