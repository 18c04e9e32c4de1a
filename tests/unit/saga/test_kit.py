"""Test kit: it finds mistakes of an author, and of the state machine, and reports where."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from services.saga.core import transitions
from services.saga.core.definition import Await, Definition, Parallel, Sleep, Step, Undo, child
from services.saga.core.state import Saga
from services.saga.definitions.parts import key_undone
from shared.contracts.base import Id
from shared.contracts.key.commands import DestroyKey, GenerateKey, RevokeKey
from shared.contracts.key.events import KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import Completed, StartSaga, WithdrawSaga
from tests.kit import Conversation, explore
from tests.kit.example.lent_key import LENT_KEY, StartLentKey
from tests.kit.invariants import Broken


class StartKeyPair(StartSaga):
    """Private to this test: its words are in no contract."""


class KeyPairCompleted(Completed):
    key_id: Id


class StartTwoPairs(StartSaga):
    pass


def key(name, undo=None):
    def make(saga):
        return GenerateKey(key_id=saga.id_of(name), algorithm=Algorithm.EC_P256)

    return Step(make, KeyGenerated, name=name, undo=undo or key_undone(lambda saga: saga.id_of(name), "undone"))


def completed(saga: Saga[StartKeyPair]) -> KeyPairCompleted:
    return KeyPairCompleted(**saga.heading, key_id=saga.id_of("one"))


def begin_pair(saga):
    return StartKeyPair(saga_id=saga.id_of("pair"))


KEY_PAIR = Definition("key-pair", StartKeyPair, (key("one"), key("two")), completed=completed)
SIDE_BY_SIDE = replace(KEY_PAIR, steps=(Parallel(key("one"), (key("two"), key("three"))), key("four")))
REQUEST = StartKeyPair()
ID = "0192f0c1-0000-7000-8000-000000000009"


def test_a_row_of_steps_is_explored_with_all_its_ends():
    found = explore(KEY_PAIR, REQUEST)

    assert set(found.ends) == {"completed", "compensated", "failed"}
    assert found.states > 200


def test_branches_are_explored_in_every_order():
    one_fault = explore(SIDE_BY_SIDE, REQUEST, faults=1)

    assert one_fault.states > explore(KEY_PAIR, REQUEST, faults=1).states * 2


def test_a_child_is_begun_and_withdrawn():
    two = Definition("two-pairs", StartTwoPairs, (child(begin_pair, KeyPairCompleted), key("own")))
    request = StartTwoPairs()

    with pytest.raises(LookupError, match="no golden sample of KeyPairCompleted"):
        Conversation(two, request).complete("begin-pair")
    talk = Conversation(two, request).complete("begin-pair", key_id=ID).reject("own").run()

    assert (talk.sent, talk.phase) == (["begin-pair", "own", "undo.begin-pair"], "compensated")
    assert isinstance(talk.commands[-1], WithdrawSaga)
    assert set(explore(two, request, answers={"begin-pair": {"key_id": ID}}).ends) == {
        "completed",
        "compensated",
        "failed",
    }


# --- what an author may forget --------------------------------------------------------------------------------------


def broken(definition, request=REQUEST, **more):
    with pytest.raises(Broken) as found:
        explore(definition, request, **more)
    return str(found.value)


def test_an_undo_that_fails_where_nothing_was_done():
    def revoke(saga):
        return RevokeKey(key_id=saga.id_of("two"), reason="undone")

    careless = replace(KEY_PAIR, steps=(key("one"), key("two", undo=(Undo(revoke, KeyRevoked),))))

    assert "undo.two fails where two never arrived: say void_if_absent" in broken(careless)


def test_an_end_of_its_own_that_nobody_is_told_the_kind_of():
    def completed_unsaid(saga):
        return KeyPairCompleted(**saga.heading, key_id=saga.id_of("one"))

    with pytest.raises(LookupError, match=r"KeyPairCompleted is in no contract.*annotate what `completed` returns"):
        explore(replace(KEY_PAIR, completed=completed_unsaid), REQUEST)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((key("one"), key("one")), "more than one step one"),
        ((Parallel(key("one"), (key("two"), key("two"))),), "more than one step two"),
    ],
)
def test_two_steps_of_one_name(steps, why):
    with pytest.raises(ValueError, match=why):
        replace(KEY_PAIR, steps=steps)


def test_a_request_of_another_saga():
    with pytest.raises(ValueError, match="StartKeyPair starts a key-pair, not a pair-of-keys"):
        replace(KEY_PAIR, saga_type="pair-of-keys")


def test_a_step_that_rests_on_an_answer_which_was_passed_over():
    def revoke_what_was_made(saga):
        return RevokeKey(key_id=saga.outcome(KeyGenerated).key_id, reason="its time")

    forgotten = replace(
        KEY_PAIR,
        steps=(replace(key("one"), already_done_ok=True), Step(revoke_what_was_made, KeyRevoked)),
    )

    with pytest.raises(LookupError, match=r"no step of key-pair .* ended with a KeyGenerated"):
        explore(forgotten, REQUEST)


# --- what the engine must not forget: each of these breaks it, and every one is found -------------------------------


def _forget_the_oldest(real):
    return lambda *args: real(*args)[:-2]


def _oldest_first(real):
    return lambda *args: real(*args)[::-1]


def _break(monkeypatch, breaking):
    name = "_parts_to_undo"
    monkeypatch.setattr(transitions, name, breaking(getattr(transitions, name)))


@pytest.mark.parametrize(
    ("breaking", "promise"),
    [(_forget_the_oldest, "it is compensated without undoing one"), (_oldest_first, "undone")],
)
def test_an_engine_that_undoes_too_little_or_in_the_wrong_order(monkeypatch, breaking, promise):
    _break(monkeypatch, breaking)

    said = broken(KEY_PAIR)

    assert promise in said
    assert "sends one" in said  # the story till then


def test_the_story_of_a_broken_promise_is_told_in_order(monkeypatch):
    _break(monkeypatch, _forget_the_oldest)

    lines = [line.split()[0] for line in broken(KEY_PAIR).splitlines()[1:]]

    assert all(int(other) == int(one) + 1 for one, other in pairwise(lines))


def test_an_engine_that_tells_its_end_twice(monkeypatch):
    real = transitions.end_undoing

    def twice(definition, saga, cause):
        after = real(definition, saga, cause)
        return after.with_announcement(after.announcements[-1].event, cause.message_id)

    monkeypatch.setattr(transitions, "end_undoing", twice)

    assert "announcements" in broken(KEY_PAIR) or "ended 2 times" in broken(KEY_PAIR)


# --- the clock ------------------------------------------------------------------------------------------------------


def test_years_pass_in_no_time():
    naps = tuple(Sleep(f"year-{number}", lambda _: timedelta(days=365)) for number in range(50))

    talk = Conversation(replace(KEY_PAIR, steps=(key("one"), *naps)), REQUEST).complete("one")

    assert talk.wait(timedelta(days=365 * 49 + 1)).pending == ["year-49"]
    assert talk.wait(timedelta(days=365)).phase == "completed"


def test_people_are_waited_for_until_they_have_come():
    two = (Await("approvals", "approve", needed=lambda _: 2, about=lambda _: "the pair"), key("one"))
    talk = Conversation(replace(KEY_PAIR, steps=two), REQUEST)

    assert talk.signal("ada").signal("ada").pending == ["approvals"]
    assert talk.signal("bob").pending == ["one"]
    with pytest.raises(Broken, match="it has not sent two; it waits for one"):
        talk.complete("two")


def test_what_is_refused_for_now_is_asked_again():
    talk = Conversation(KEY_PAIR, REQUEST).reject("one", for_now=True).run()

    assert (talk.sent, talk.phase) == (["one", "one", "two"], "completed")


def test_people_who_do_not_come_are_waited_for_no_longer_than_it_says():
    talk = Conversation(LENT_KEY, StartLentKey(recipient_public_key=bytes(32))).complete("make-key")

    assert talk.run().phase == "compensated"
    assert Conversation(LENT_KEY, StartLentKey(recipient_public_key=bytes(32))).run("bob").phase == "completed"


def test_what_is_destroyed_at_last_was_revoked_before():
    talk = Conversation(KEY_PAIR, REQUEST).complete("one").reject("two").run()

    assert [type(command) for command in talk.commands[2:]] == [RevokeKey, DestroyKey]
    assert [type(event).__name__ for event in talk.announced][-2:] == ["SagaCompensating", "SagaCompensated"]
