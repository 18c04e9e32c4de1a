"""Every command in every state: one table of what is answered, and that there always is an answer."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.key.domain import KEY
from services.key.effects import Sign, SignMessages, SuccessorFetched
from services.key.states import Active, Rotated, Traits
from shared.contracts.base import Event
from shared.contracts.key.commands import KeyCommand
from shared.contracts.key.events import KeyEvent
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.decider import AlreadyDone, Context, Perform, Rejection
from tests.support.key_states import COMMANDS, FUTURE, HISTORIES, ID, MANAGEMENT, PEM, ROTATE, generated, rotated
from tests.support.scenario import COMMAND_ID, NOON, Scenario

key = Scenario(KEY)
SHORT = {
    "NF": "not-found",
    "CO": "conflict",
    "NA": "not-allowed",
    "=": "stands",
}
TABLE = """
                  unborn           prepared      active          exported        rotated              escrowed        expired         replaced        revoked         archived        voided          destroyed
generate          CreateKeyPair    CO            =               =               =                    CO              CO              CO              CO              CO              CO              CO
prepare-import    PrepareRecipient =             CO              CO              CO                   CO              CO              CO              CO              CO              CO              CO
import            NF               ImportKeyPair CO              CO              CO                   CO              CO              CO              CO              CO              CO              CO
derive            NF               DeriveKeyPair CO              CO              CO                   CO              CO              CO              CO              CO              CO              CO
sign              NF               NF            Sign            Sign            CO                   CO              CO              CO              CO              CO              CO              CO
sign-batch        NF               NF            NA              NA              CO                   CO              CO              CO              CO              CO              CO              CO
bind-authority    NF               NF            NA              NA              NA                   CO              CO              CO              CO              CO              CO              CO
export            NF               NF            SealPrivateKey  SealPrivateKey  SealPrivateKey       SealPrivateKey  CO              CO              CO              CO              CO              CO
export-public     NF               NF            FormatPublicKey FormatPublicKey FormatPublicKey      FormatPublicKey FormatPublicKey FormatPublicKey FormatPublicKey FormatPublicKey CO              CO
escrow            NF               NF            NA              NA              NA                   =               CO              CO              CO              CO              CO              CO
rotate            NF               NF            FetchSuccessor  FetchSuccessor  =                    CO              CO              CO              CO              CO              CO              CO
complete-rotation NF               NF            CO              CO              KeyRotationCompleted CO              CO              =               CO              CO              CO              CO
cancel-rotation   NF               NF            =               =               KeyRotationCancelled CO              CO              CO              CO              CO              CO              CO
expire            NF               NF            CO              CO              CO                   CO              =               =               =               =               =               =
revoke            NF               KeyRevoked    KeyRevoked      KeyRevoked      KeyRevoked           KeyRevoked      KeyRevoked      KeyRevoked      =               CO              =               =
archive           NF               NF            CO              CO              CO                   CO              KeyArchived     KeyArchived     KeyArchived     =               CO              CO
transfer          NF               NF            KeyTransferred  KeyTransferred  KeyTransferred       KeyTransferred  CO              CO              CO              CO              CO              CO
destroy           NF               CO            CO              ErasePrivateKey CO                   ErasePrivateKey ErasePrivateKey ErasePrivateKey ErasePrivateKey ErasePrivateKey ErasePrivateKey =
"""  # noqa: E501 - a table is read across
COLUMNS, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], state, SHORT.get(cell, cell)) for row in ROWS for state, cell in zip(COLUMNS, row[1:], strict=True)]


def called(answer):
    match answer:
        case Rejection():
            return answer.code.value
        case AlreadyDone():
            return "stands"
        case Perform():
            return type(answer.effect).__name__
        case _:
            return type(answer).__name__


@pytest.mark.parametrize(("command", "state", "expected"), CELLS)
def test_every_command_is_answered_in_every_state(command, state, expected):
    answer = key.given(*HISTORIES[state]).when(COMMANDS[command]).answer

    assert called(answer) == expected


def test_the_table_has_every_command_and_every_state():
    assert {row[0] for row in ROWS} == COMMANDS.keys()
    assert {type(command) for command in COMMANDS.values()} == set(get_args(KeyCommand))
    assert set(COLUMNS) == HISTORIES.keys()


@pytest.mark.parametrize("state", HISTORIES)
@pytest.mark.parametrize("command", COMMANDS)
def test_who_is_refused_is_told_which_key_and_why(command, state):
    answer = key.given(*HISTORIES[state]).when(COMMANDS[command]).answer

    if isinstance(answer, Rejection):
        assert ID in answer.message or "x25519" in answer.message
        assert ":" in answer.message or "," in answer.message or "first" in answer.message
        assert not answer.retryable


# -- properties ------------------------------------------------------------------
WISHES = st.sampled_from(
    [
        *COMMANDS.values(),
        generated(),
        COMMANDS["generate"].model_copy(update={"expires_at": FUTURE}),
        COMMANDS["revoke"].model_copy(update={"void_if_absent": True}),
    ]
)
SUCCESSOR = Active(Traits(algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, public_key_pem=PEM))
LIVES = st.lists(st.tuples(WISHES, st.integers(min_value=0, max_value=3)), max_size=12)


def live(steps):
    """Let commands follow each other; effects succeed, as far as the core can tell. Yields state, time and answer."""
    state, at = KEY.initial, NOON
    for command, days in steps:
        at += timedelta(days=days)
        context = Context(command_id=COMMAND_ID, aggregate_id=ID, at=at)
        answer = command if isinstance(command, Event) else KEY.decide(state, command, context)
        if isinstance(answer, Perform):
            yield state, at, answer.effect
            if command is ROTATE:
                answer = KEY.decide(state, SuccessorFetched(ROTATE, SUCCESSOR), context)
            elif command == COMMANDS["destroy"]:
                answer = HISTORIES["destroyed"][-1]
            elif command == COMMANDS["export"]:
                answer = HISTORIES["exported"][-1]
        if isinstance(answer, get_args(KeyEvent)):
            state = KEY.evolve(state, answer)


@given(LIVES)
@settings(max_examples=300)
def test_whatever_happened_before_only_a_key_in_use_ever_signs(steps):
    for state, at, effect in live(steps):
        if isinstance(effect, Sign | SignMessages):
            assert isinstance(state, Active | Rotated)
            assert state.traits.expires_at is None or at < state.traits.expires_at


@given(st.lists(st.sampled_from([event for each in HISTORIES.values() for event in each]), max_size=8), WISHES)
def test_there_is_an_answer_whatever_the_log_holds(history, command):
    if not isinstance(command, Event):
        assert key.given(*history).when(command).answer is not None


@given(st.lists(st.sampled_from([event for each in HISTORIES.values() for event in each]), max_size=8))
def test_a_key_that_is_destroyed_stays_so(history):
    after = key.given(*history, HISTORIES["destroyed"][-1])

    for name, command in COMMANDS.items():
        if name not in ("expire", "revoke", "destroy"):
            assert isinstance(after.when(command).answer, Rejection), name


@pytest.mark.parametrize("history", [(generated(), rotated(FUTURE)), (MANAGEMENT,)])
def test_states_survive_their_snapshots_also_with_times_in_them(history):
    state = KEY.initial
    for event in history:
        state = KEY.evolve(state, event)

    assert KEY.states.validate_python(KEY.states.dump_python(state, mode="json")) == state
