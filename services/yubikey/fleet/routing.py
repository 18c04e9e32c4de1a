"""A command about a device that another process has, passed on to that one: whole, by a request, and waited for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from services.yubikey.fleet.watcher import Watch
from services.yubikey.state.leases import Leases
from shared.contracts.yubikey.presence import ReportPresence
from shared.errors import Conflict, Poison, Transient
from shared.messages.catalog import catalog
from shared.nats.client import Client
from shared.process.runtime import Handler

_LONGEST = 3600.0
_LOOK_AGAIN = 1.0
_DRAIN = 10.0
_ANYWHERE = frozenset({ReportPresence.__name__})
log = logging.getLogger(__name__)


def address(instance: str) -> str:
    """Where a process takes what is passed on to it: a subject of no stream."""
    return f"$KEYS.yubikey.{instance}.handle"


class Routing:
    """In front of this process's own handler."""

    def __init__(self, client: Client, leases: Leases, watch: Watch) -> None:
        self._client = client
        self._leases = leases
        self._watch = watch
        self._handle: Handler | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def around(self, handle: Handler) -> Handler:
        self._handle = handle
        own = address(self._leases.holder.instance)
        self._subscription = await self._client.subscribe_inline(own, self._asked)
        return self._route

    async def stop(self) -> None:
        """Take nothing more that is passed on, and finish what is in hand."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        if self._working:
            await asyncio.wait(self._working, timeout=_DRAIN)

    async def _route(self, message: Msg) -> None:
        assert self._handle is not None
        serial = _serial_in(message)
        holder = await self._elsewhere(serial) if serial is not None else None
        if serial is None or holder is None:
            await self._handle(message)
        else:
            await self._pass_on(message, serial, holder)

    async def _elsewhere(self, serial: int) -> str | None:
        """The process that has the device; None: this one, or nobody. Then it is answered here, that it is absent."""
        if self._leases.holds(serial):
            return None
        lease, _ = await self._leases.read(serial)
        if lease is None or lease.is_over(datetime.now(UTC)) or lease.holder.home == self._leases.holder.home:
            if await self._watch.look_for(serial) and not self._leases.holds(serial):
                raise Transient(f"YubiKey {serial} is plugged in here, and will be in the hands of this process soon")
            return None
        return lease.holder.instance

    async def _pass_on(self, message: Msg, serial: int, holder: str) -> None:
        """Have *holder* answer it, which may take a person minutes; but not longer than it holds the device."""
        request = to_json(
            {
                "subject": message.subject,
                "reply": message.reply,
                "headers": message.headers,
                "data": base64.b64encode(message.data).decode(),
            }
        )
        asking = asyncio.ensure_future(self._client.request(address(holder), request, timeout=_LONGEST))
        try:
            while not (await asyncio.wait({asking}, timeout=_LOOK_AGAIN))[0]:
                lease, _ = await self._leases.read(serial)
                if lease is None or lease.is_over(datetime.now(UTC)) or lease.holder.instance != holder:
                    raise Transient(f"who had YubiKey {serial} has not answered, and has it no longer")
            answer = from_json((await asking).data)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError) as error:
            raise Transient(f"who has YubiKey {serial} does not answer") from error
        finally:
            asking.cancel()
        if answer.get("poison"):
            raise Poison(answer["poison"])
        if answer.get("again"):
            raise Transient(answer["again"])

    def _asked(self, request: Msg) -> None:
        task = asyncio.create_task(self._answer(request))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _answer(self, request: Msg) -> None:
        assert self._handle is not None
        answer: dict[str, str] = {}
        try:
            message = _opened(self._client, request.data)
            serial = _serial_in(message)
            if serial is None or not self._leases.holds(serial):
                raise Transient(f"YubiKey {serial} is no longer in the hands of who was asked")  # noqa: TRY301 - as below
            await self._handle(message)
        except Poison as error:
            answer = {"poison": str(error)}
        except (Conflict, Transient, nats.errors.Error, OSError, TimeoutError) as error:
            answer = {"again": str(error) or type(error).__name__}
        except Exception:
            log.exception("what was passed on here failed")
            answer = {"again": "it failed where the device is; that process's log has the reason"}
        with contextlib.suppress(nats.errors.Error):  # who asked gives up by itself
            await request.respond(to_json(answer))


def _opened(client: Client, data: bytes) -> Msg:
    """The message as it was delivered to who passed it on: with what JetStream said of it, as its ids rest on that."""
    try:
        passed = from_json(data)
        body = base64.b64decode(passed["data"], validate=True)
        subject, reply, headers = str(passed["subject"]), str(passed["reply"]), passed["headers"]
    except (ValueError, KeyError, TypeError) as error:
        raise Poison("what was passed on is no command") from error
    return Msg(_client=client, subject=subject, reply=reply, data=body, headers=headers)


def _serial_in(message: Msg) -> int | None:
    """The device that a command is about; None where that cannot be told, or does not matter."""
    if catalog().commands.get(message.subject) in _ANYWHERE:
        return None
    try:
        body: Any = from_json(message.data)
        return int(body["serial"])
    except (ValueError, KeyError, TypeError, ValidationError):
        return None
