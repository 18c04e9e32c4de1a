"""What must be true of any saga, wherever it stops and however it ends: the engine's promises, and its author's."""

from __future__ import annotations

from pydantic_core import from_json

from services.saga import store
from services.saga.core import machine
from services.saga.core.state import Phase
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import Announcement, Completed, SagaCompensated, SagaFailed
from tests.kit.played import Effect, Played

ENDS = (Completed, SagaCompensated, SagaFailed)


class Broken(AssertionError):
    """A promise was broken; the message tells what happened till then, line by line."""

    def __init__(self, promise: str, played: Played) -> None:
        lines = "\n".join(f"  {number:3} {line}" for number, line in enumerate(played.story))
        super().__init__(f"{played.definition.saga_type}: {promise}\n{lines}")


def at_any_moment(played: Played) -> None:
    """Raises Broken where a crash now, or an answer told twice, would change anything."""
    stored = store.encode_entry(played.saga)
    found = store.decode_entry(played.definition, from_json(stored))
    if found != played.saga:
        raise Broken("what a crash leaves is not what was saved", played)
    asked = [sent.command_id for sent in played.asking()]
    if [pending.command_id for pending, _ in machine.pending_commands(played.definition, found)] != asked:
        raise Broken("after a crash other commands are sent than before", played)
    for command_id, heard in played.answers.items():
        twice = command_id not in played.unheard and command_id not in asked
        if twice and machine.advance(played.definition, played.saga, heard) != played.saga:
            raise Broken(f"{type(heard.event).__name__} heard twice changes something", played)
    for sent in played.sent:
        answered = played.answers.get(sent.command_id)
        if answered and getattr(answered.event, "code", None) is RejectionCode.NOT_FOUND:
            raise Broken(f"{sent.label} fails where {sent.step} never arrived: say void_if_absent", played)
        if sent.is_undo and not any(each.step == sent.step and not each.is_undo for each in played.sent):
            raise Broken(f"{sent.step} is undone and was never asked for", played)


def at_the_end(played: Played) -> None:
    """Raises Broken where it did not end as it must, once nothing is under way any more."""
    told = [event for event in played.told if isinstance(event, Announcement)]
    if [event.sequence for event in told] != list(range(len(told))):
        raise Broken("its announcements do not count 0, 1, 2 …", played)
    if (ends := sum(isinstance(event, ENDS) for event in told)) != 1:
        raise Broken(f"it ended {ends} times", played)
    if played.saga.pending:
        raise Broken("it is over, and still asks", played)
    left = {step for step in _done(played) if played.definition.step(step).undo}
    said = {each.step for each in played.saga.left_over}
    match played.saga.phase:
        case Phase.COMPENSATED if left:
            raise Broken(f"it says that all is undone; not so {', '.join(sorted(left))}", played)
        case Phase.FAILED if not said:
            raise Broken("it failed, and does not say what is left over", played)
        case Phase.FAILED if left - said:
            raise Broken(f"left over and not said: {', '.join(sorted(left - said))}", played)
        case Phase.COMPLETED if missing := _asked_for(played) - _done(played) - _standing(played):
            raise Broken(f"it is complete without {', '.join(sorted(missing))}", played)
        case _:
            pass
    _newest_first(played)


def _newest_first(played: Played) -> None:
    """What was answered later is undone earlier."""
    answered = [each.step for each in played.saga.outcomes if not each.step.startswith("undo.")]
    undone = list(dict.fromkeys(sent.step for sent in played.sent if sent.is_undo and sent.step in answered))
    if undone != [step for step in reversed(answered) if step in undone]:
        raise Broken(f"undone in the order {', '.join(undone)}, done in the order {', '.join(answered)}", played)


def _done(played: Played) -> set[str]:
    return {step for step, effect in played.effects.items() if effect is Effect.DONE}


def _asked_for(played: Played) -> set[str]:
    return {sent.step for sent in played.sent if not sent.is_undo}


def _standing(played: Played) -> set[str]:
    heard = [(sent, played.answers.get(sent.command_id)) for sent in played.sent]
    return {sent.step for sent, answer in heard if answer and type(answer.event).__name__ == "CommandRepeated"}
