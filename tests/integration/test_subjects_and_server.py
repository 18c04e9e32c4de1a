"""The subject algebra agrees with a real nats-server."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.js.errors import BadRequestError

from shared.messages.subjects import Subject
from shared.nats.client import flush_subscriptions

_LITERAL = st.lists(st.sampled_from(["a", "b", "c-1"]), min_size=1, max_size=4)
_PATTERN = st.tuples(st.lists(st.sampled_from(["a", "b", "c-1", "*"]), max_size=3), st.sampled_from([(), (">",)])).map(
    lambda parts: (*parts[0], *parts[1])
)


def _subjects(tokens):
    return Subject(("algebra", *tokens))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_PATTERN.map(_subjects), min_size=25, max_size=40, unique=True),
    st.lists(_LITERAL.map(_subjects), min_size=25, max_size=40, unique=True),
)
async def test_a_subscription_gets_exactly_the_subjects_that_its_pattern_covers(client, patterns, subjects):
    delivered = set()

    def remember(pattern):
        async def remembered(message):
            delivered.add((str(pattern), message.subject))

        return remembered

    subscriptions = [await client.subscribe(str(pattern), cb=remember(pattern)) for pattern in patterns]
    for subject in subjects:
        await client.publish(str(subject))
    await flush_subscriptions(client)
    for subscription in subscriptions:
        await subscription.drain()

    assert delivered == {(str(p), str(s)) for p in patterns for s in subjects if p.covers(s)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=_PATTERN.map(_subjects), other=_PATTERN.map(_subjects))
async def test_a_second_stream_is_refused_exactly_when_its_pattern_overlaps(client, one, other):
    js = client.jetstream()
    await js.add_stream(name="ONE", subjects=[str(one)], storage="memory")
    if one.overlaps(other):
        with pytest.raises(BadRequestError, match="overlap"):
            await js.add_stream(name="OTHER", subjects=[str(other)], storage="memory")
    else:
        await js.add_stream(name="OTHER", subjects=[str(other)], storage="memory")
        await js.delete_stream("OTHER")
    await js.delete_stream("ONE")
