"""Entries of KEYS_SAGAS keep their format: those that version 0.3.0 wrote are read, and written byte for byte the same.

`entries/*.jsonl` holds what 0.3.0 wrote in the course of the runs below, one entry a line.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic_core import from_json

from services.saga import store
from services.saga.core import machine
from services.saga.core.state import Origin
from services.saga.definitions import DEFINITIONS
from shared.contracts.saga.protocol import PauseSaga, ResumeSaga, RetrySaga, WithdrawSaga
from shared.messages.headers import SagaContext
from shared.messages.ids import derive_id
from tests.kit import Conversation
from tests.kit.example.lent_key import LENT_KEY, StartLentKey
from tests.kit.moment import NOON, START
from tests.unit.saga.test_any_order import ONE, OTHER, SAGAS
from tests.unit.saga.test_every_path import ANSWERS

ENTRIES = Path(__file__).parent / "entries"
BY_VERSION = {(each.saga_type, each.version): each for each in (*DEFINITIONS, LENT_KEY)}


def approvals():
    """One of two approvals, a rejection that is retried, a final one, an undo."""
    talk = Conversation(*SAGAS["issuance-approved"])
    yield talk.complete("create-certificate").signal("ada").saga
    yield talk.signal("bob").reject("sign-certificate", for_now=True).saga
    yield talk.wait(timedelta(minutes=1)).reject("sign-certificate").saga
    yield talk.complete("undo.create-certificate").saga


def pivot():
    """A sleep, a step that is stuck past its pivot, a retry by an operator, an event that is in no contract."""
    talk = Conversation(LENT_KEY, StartLentKey(recipient_public_key=bytes(32)))
    yield talk.complete("make-key").signal("bob").complete("hand-over").saga
    yield talk.wait(timedelta(days=31)).reject("revoke").saga
    yield talk.send(RetrySaga).saga
    yield talk.complete("revoke").saga


def rotation():
    """A pause, children side by side, a cancellation, an undo that is left over."""
    talk = Conversation(*SAGAS["rotation-of-certificates"])
    yield talk.complete("generate-successor").send(PauseSaga).saga
    talk.send(ResumeSaga).complete(f"reissue-{ONE}").complete(f"reissue-{OTHER}")
    yield talk.complete("rotate-key").saga
    yield talk.cancel().saga
    for _ in range(3):
        talk.reject("undo.rotate-key").wait(timedelta(minutes=5))
    yield talk.saga


def withdrawn():
    """A completed saga that is rolled back."""
    talk = Conversation(*SAGAS["nats-user"], answers=ANSWERS)
    yield talk.run().saga
    yield talk.send(WithdrawSaga).saga
    yield talk.run().saga


def child():
    """A child with the trace of its parent, and a saga that an event has triggered."""
    definition, request = SAGAS["crl"]
    parent = SagaContext("device-lost", str(derive_id(START, "parent")), "publish-crl")
    trace = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
    of_child = Origin(
        command_id=START,
        correlation_id=derive_id(START, "conversation"),
        actor="ada",
        trace=trace,
        at=NOON,
        parent=parent,
    )
    triggered = Origin(command_id=START, correlation_id=START, actor="ada", triggered=True, at=NOON)
    yield from (machine.begin(definition, request, origin, NOON) for origin in (of_child, triggered))


RUNS = {run.__name__: run for run in (approvals, pivot, rotation, withdrawn, child)}


@pytest.mark.parametrize("name", RUNS)
def test_an_entry_of_version_0_3_is_read_and_written_again_byte_for_byte(name):
    for line in (ENTRIES / f"{name}.jsonl").read_bytes().splitlines():
        entry = from_json(line)
        saga = store.decode_entry(BY_VERSION[entry["saga_type"], entry["version"]], entry)

        assert store.encode_entry(saga) == line


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_writes_the_entries_that_version_0_3_wrote(name):
    assert [store.encode_entry(saga) for saga in RUNS[name]()] == (ENTRIES / f"{name}.jsonl").read_bytes().splitlines()
