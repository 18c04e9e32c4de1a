"""``python -m tests.bench.pipeline``: processor time of the pipeline of one message, without a server (ADR 0030).

The handler does nothing, and acknowledgements go nowhere. Rows: the subscriber as the services have it; the same with
FastStream's own `process_message`; the same with injection into the handler by `Context` and `Depends`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Annotated, Any

import uvloop
from faststream import Context, Depends, FastStream
from faststream._internal.endpoint.subscriber.usecase import SubscriberUsecase
from nats.aio.msg import Msg

from shared.nats.connection import ANONYMOUS
from shared.process.broker import ServiceBroker
from shared.process.middlewares import DeadLetterPolicy, RejectionMiddleware, RetryOptions, delivery_middlewares
from shared.process.subscriber import PullOptions, PullSubscriber, Source

MESSAGES, RUNS = 5000, 9
SUBJECT, REPLY = "keys.commands.key.generate", "$JS.ACK.KEYS_COMMANDS.key.1.{}.1.1700000000000000000.0"


class Nowhere:
    """In a connection's place."""

    async def publish(self, _: str, payload: bytes = b"", **__: object) -> None:
        """Takes an acknowledgement: an ack is empty."""
        assert not payload, payload


async def ignore(_: Any) -> None:
    """Handles a message, or gives it up."""


async def accept(_: Msg) -> bool:
    return False


async def with_context(message: Any, broker: Annotated[Any, Context(command_id="broker")]) -> None:
    """Handles a message with the broker injected."""


async def with_dependency(
    message: Any, broker: Annotated[Any, Context(command_id="broker")], one: Annotated[int, Depends(lambda: 1)]
) -> None:
    """Handles a message with the broker and a dependency injected."""


def subscriber(handler: Any = ignore, *, whole: bool = False, inject: bool = False) -> PullSubscriber:
    """*whole*: FastStream's own pipeline, which takes middlewares from the broker."""
    broker = ServiceBroker("nats://127.0.0.1:1", "bench", ANONYMOUS)
    FastStream(broker)
    broker._setup_logger()  # noqa: SLF001 - as `connect` does
    broker.config.fd_config.use_fastdepends = inject
    middlewares = delivery_middlewares("key", DeadLetterPolicy(ignore), RetryOptions(), observed=False)
    middlewares.append(partial(RejectionMiddleware, reject=accept))
    source = Source(stream="KEYS_COMMANDS", durable="key")
    for each in middlewares if whole else ():
        broker.add_middleware(each)
    reader = broker.pull_subscriber(source, PullOptions(ack_wait_s=4), () if whole else middlewares)
    reader(handler)
    reader._build_fastdepends_model()  # noqa: SLF001 - as `start` does
    return reader


def whole(handler: Any = ignore, *, inject: bool = False) -> Any:
    """FastStream's own method; only its scopes have what is injected."""
    return partial(SubscriberUsecase.process_message, subscriber(handler, whole=True, inject=inject))


async def microseconds(process: Any) -> float:
    """The least of several runs: the others were disturbed."""
    client, runs = Nowhere(), []
    for _ in range(RUNS):
        began = time.process_time()
        for number in range(MESSAGES):
            message = Msg(client, SUBJECT, REPLY.format(number), b"{}", {"Nats-Msg-Id": "1"})
            await asyncio.create_task(process(message))
        runs.append((time.process_time() - began) / MESSAGES * 1e6)
    return min(runs)


async def main() -> None:
    rows = {
        "as the services have it": subscriber().process_message,
        "FastStream's process_message": whole(),
        "the same, one Context": whole(with_context, inject=True),
        "the same, one Context and one Depends": whole(with_dependency, inject=True),
    }
    for what, process in rows.items():
        print(f"{what}: {await microseconds(process):.1f} us a message")


if __name__ == "__main__":
    uvloop.run(main())
