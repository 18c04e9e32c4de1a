"""Invariants of every saga, in each state and at its end: those of the state machine, and those of the author."""

from __future__ import annotations

from pydantic_core import from_json

from services.saga import store
from services.saga.core import machine
from services.saga.core.state import Phase
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import Announcement, Completed, SagaCompensated, SagaFailed
from shared.contracts.saga.view import SagaView
from tests.kit.moment import Effect, Moment

ENDS = (Completed, SagaCompensated, SagaFailed)


class Broken(AssertionError):
    """An invariant is broken; the message lists everything that happened before."""

    def __init__(self, problem: str, moment: Moment) -> None:
        lines = "\n".join(f"  {number:3} {line}" for number, line in enumerate(moment.story))
        super().__init__(f"{moment.definition.saga_type}: {problem}\n{lines}")


def check_state(moment: Moment) -> None:
    """Raises Broken if a crash now, or a redelivered answer, would change anything."""
    stored = store.encode_entry(moment.saga)
    SagaView.model_validate_json(stored)  # raises unless the entry has its published part
    found = store.decode_entry(moment.definition, from_json(stored))
    if found != moment.saga:
        raise Broken("the entry does not restore the state", moment)
    pending_ids = [sent.command_id for sent in moment.pending_commands()]
    if [pending.command_id for pending, _ in machine.pending_commands(moment.definition, found)] != pending_ids:
        raise Broken("after a crash other commands are sent than before", moment)
    for command_id, answer in moment.answers.items():
        redelivered = command_id not in moment.unreceived and command_id not in pending_ids
        if redelivered and machine.advance(moment.definition, moment.saga, answer) != moment.saga:
            raise Broken(f"a redelivered {type(answer.event).__name__} changes something", moment)
    for sent in moment.sent:
        answered = moment.answers.get(sent.command_id)
        if answered and getattr(answered.event, "code", None) is RejectionCode.NOT_FOUND:
            raise Broken(f"{sent.label} fails where {sent.step} never arrived: say void_if_absent", moment)
        if sent.is_undo and not any(each.step == sent.step and not each.is_undo for each in moment.sent):
            raise Broken(f"{sent.step} is undone, and its command was never sent", moment)


def check_end(moment: Moment) -> None:
    """Raises Broken if the saga did not end as it must; nothing is in flight any more."""
    announced = [event for event in moment.announced if isinstance(event, Announcement)]
    if [event.sequence for event in announced] != list(range(len(announced))):
        raise Broken("its announcements do not count 0, 1, 2 …", moment)
    if (ends := sum(isinstance(event, ENDS) for event in announced)) != 1:
        raise Broken(f"it ended {ends} times", moment)
    if moment.saga.pending:
        raise Broken("it is finished, and has pending steps", moment)
    left = {step for step in _done(moment) if moment.definition.step(step).undo}
    reported = {each.step for each in moment.saga.left_over}
    match moment.saga.phase:
        case Phase.COMPENSATED if left:
            raise Broken(f"it is compensated without undoing {', '.join(sorted(left))}", moment)
        case Phase.FAILED if not reported:
            raise Broken("it failed, and reports nothing left over", moment)
        case Phase.FAILED if left - reported:
            raise Broken(f"left over and not reported: {', '.join(sorted(left - reported))}", moment)
        case Phase.COMPLETED if missing := _sent_steps(moment) - _done(moment) - _already_done(moment):
            raise Broken(f"it is complete without {', '.join(sorted(missing))}", moment)
        case _:
            pass
    _check_undo_order(moment)


def _check_undo_order(moment: Moment) -> None:
    """Raises Broken unless the step that was done last is undone first."""
    answered = [each.step for each in moment.saga.outcomes if not each.step.startswith("undo.")]
    undone = list(dict.fromkeys(sent.step for sent in moment.sent if sent.is_undo and sent.step in answered))
    if undone != [step for step in reversed(answered) if step in undone]:
        raise Broken(f"undone in the order {', '.join(undone)}, done in the order {', '.join(answered)}", moment)


def _done(moment: Moment) -> set[str]:
    return {step for step, effect in moment.effects.items() if effect is Effect.DONE}


def _sent_steps(moment: Moment) -> set[str]:
    return {sent.step for sent in moment.sent if not sent.is_undo}


def _already_done(moment: Moment) -> set[str]:
    answered = [(sent, moment.answers.get(sent.command_id)) for sent in moment.sent]
    return {sent.step for sent, answer in answered if answer and type(answer.event).__name__ == "CommandRepeated"}
