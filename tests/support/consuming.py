"""A `PullSubscriber` over the connection of a test, with the usual middlewares."""

from __future__ import annotations

from contextlib import asynccontextmanager

from shared.nats.client import Client
from shared.nats.connection import ANONYMOUS
from shared.process.broker import GRACE_S, ServiceBroker
from shared.process.middlewares import DeadLetterPolicy, RetryOptions, delivery_middlewares
from shared.process.subscriber import PullOptions, PullSubscriber, Source


class ConnectedBroker(ServiceBroker):
    """A broker over a connection that exists already."""

    def __init__(self, client: Client, **options) -> None:
        super().__init__("nats://127.0.0.1:1", "test", ANONYMOUS, **options)
        self._client = client

    async def _connect(self) -> Client:
        self.config.connect(self._client)
        return self._client


async def never(message) -> None:
    raise AssertionError(message)


async def subscribed(
    client: Client,
    handle,
    give_up=never,
    *,
    broker: ServiceBroker | None = None,
    source: Source | None = None,
    retries: RetryOptions | None = None,
    grace_s: float = GRACE_S,
    is_relevant=None,
    on_silence=None,
    ack_wait=4.0,
    limit=256,
    **pull,
) -> PullSubscriber:
    """Returns a subscriber that is ready to start."""
    broker = broker or ConnectedBroker(client, grace_s=grace_s)
    await broker.connect()
    source = source or Source(stream="KEYS_COMMANDS", durable="key")
    options = PullOptions(ack_wait_s=ack_wait, max_in_flight=limit, **pull)
    policy = DeadLetterPolicy(give_up)
    middlewares = delivery_middlewares(source.durable, policy, retries or RetryOptions(), observed=False)
    silence = {"on_silence": on_silence} if on_silence else {}
    subscriber = broker.pull_subscriber(source, options, middlewares, is_relevant=is_relevant, **silence)
    subscriber(handle)
    return subscriber


@asynccontextmanager
async def reading(client: Client, handle, give_up=never, **options):
    """Calls *handle* with each message while the body runs."""
    subscriber = await subscribed(client, handle, give_up, **options)
    await subscriber.start()
    try:
        yield subscriber
    finally:
        await subscriber.stop()
