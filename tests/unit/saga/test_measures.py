"""What operators are told of sagas is true, and telling it hinders none of them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.saga import measures
from services.saga.sagas import Sagas
from services.saga.state import Origin, Phase
from shared import telemetry
from shared.identity import new_id

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@dataclass
class Story:
    """As much of a saga as is measured."""

    began: datetime
    saga_id: str = field(default_factory=lambda: str(new_id()))
    saga_type: str = "key-rotation"
    phase: Phase = Phase.RUNNING
    questions: tuple = ()
    due: None = None
    changed_at: datetime = NOW + timedelta(days=10_000)

    @property
    def origin(self):
        return Origin(new_id(), new_id(), "somebody", at=self.began)


class Store:
    def __init__(self, *stories, fails=False):
        self.stories, self.fails = stories, fails

    async def unfinished(self):
        for story in self.stories:
            yield Mock(saga=story, revision=1)
        if self.fails:
            raise TimeoutError


@pytest.fixture(name="told")
def _told(monkeypatch):
    """What gauges were told last, by their labels."""
    told = {}
    for name in ("_active", "_oldest", "_stuck"):
        gauge = Mock(set=lambda value, labels, name=name: told.update({(name, *labels.values()): value}))
        monkeypatch.setattr(measures, name, gauge)
    return told


async def test_a_look_that_was_cut_short_is_not_counted_with_the_next_one(told):
    sagas = Sagas(Mock(), Store(Story(NOW), fails=True), {Mock: Mock(saga_type="key-rotation")})
    with pytest.raises(TimeoutError):
        await sagas.sweep()
    sagas._store = Store(Story(NOW))
    await sagas.sweep()
    assert told["_active", "key-rotation", "running"] == 1


def test_a_saga_that_says_it_began_in_the_future_has_a_span_that_can_be_exported(monkeypatch):
    exporter, traces = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(measures, "_tracer", traces.get_tracer("test"))
    monkeypatch.setattr(telemetry._Switch, "is_on", True)
    measures.ended(Story(datetime(9999, 12, 31, tzinfo=UTC), phase=Phase.COMPLETED), NOW)
    (span,) = exporter.get_finished_spans()
    encode_spans([span]).SerializeToString()
    assert span.start_time == span.end_time


def test_an_end_that_cannot_be_measured_hinders_no_saga(monkeypatch):
    monkeypatch.setattr(measures, "_durations", Mock(record=Mock(side_effect=RuntimeError)))
    monkeypatch.setattr(telemetry._Switch, "is_on", True)
    measures.ended(Story(NOW, phase=Phase.COMPLETED), NOW)
