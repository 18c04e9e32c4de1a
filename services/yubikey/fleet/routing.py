"""Routing: forwards a command to the process that leases its device, as a NATS request, and waits for the result."""

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

from services.yubikey.fleet.watcher import Watcher
from services.yubikey.state.leases import Leases
from shared.contracts.yubikey.presence import ReportPresence
from shared.errors import Conflict, Poison, Transient
from shared.messages.catalog import catalog
from shared.nats.client import Client
from shared.process.runtime import Handler

_REQUEST_TIMEOUT_S = 3600.0
_LEASE_CHECK_INTERVAL_S = 1.0
_DRAIN_TIMEOUT_S = 10.0
_UNROUTED_COMMANDS = frozenset({ReportPresence.__name__})
log = logging.getLogger(__name__)


def forwarding_subject(instance: str) -> str:
    """The subject on which a process accepts forwarded commands. No stream captures it."""
    return f"$KEYS.yubikey.{instance}.handle"


class CommandRouter:
    """Wraps the handler of this process: commands about devices of other processes are forwarded."""

    def __init__(self, client: Client, leases: Leases, watcher: Watcher) -> None:
        self._client = client
        self._leases = leases
        self._watcher = watcher
        self._handle: Handler | None = None
        self._in_flight: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def wrap(self, handle: Handler) -> Handler:
        """Subscribes for forwarded commands, and returns the routing handler."""
        self._handle = handle
        own = forwarding_subject(self._leases.holder.instance)
        self._subscription = await self._client.subscribe_inline(own, self._on_forwarded)
        return self._route

    async def stop(self) -> None:
        """Accepts no more forwarded commands, and finishes those in flight."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_DRAIN_TIMEOUT_S)

    async def _route(self, message: Msg) -> None:
        assert self._handle is not None
        serial = _serial_in(message)
        holder = await self._other_holder(serial) if serial is not None else None
        if serial is None or holder is None:
            await self._handle(message)
        else:
            await self._forward(message, serial, holder)

    async def _other_holder(self, serial: int) -> str | None:
        """The other process that leases the device; None: handle the command here, absent or not."""
        if self._leases.holds(serial):
            return None
        lease, _ = await self._leases.read(serial)
        if lease is None or lease.is_expired(datetime.now(UTC)) or lease.holder.home == self._leases.holder.home:
            if await self._watcher.poll_for(serial) and not self._leases.holds(serial):
                raise Transient(f"YubiKey {serial} is plugged in here, and this process will lease it soon")
            return None
        return lease.holder.instance

    async def _forward(self, message: Msg, serial: int, holder: str) -> None:
        """Forwards the command to *holder*, and waits as long as it holds the lease: a person may take minutes."""
        request = to_json(
            {
                "subject": message.subject,
                "reply": message.reply,
                "headers": message.headers,
                "data": base64.b64encode(message.data).decode(),
            }
        )
        response = asyncio.ensure_future(
            self._client.request(forwarding_subject(holder), request, timeout=_REQUEST_TIMEOUT_S)
        )
        try:
            while not (await asyncio.wait({response}, timeout=_LEASE_CHECK_INTERVAL_S))[0]:
                lease, _ = await self._leases.read(serial)
                if lease is None or lease.is_expired(datetime.now(UTC)) or lease.holder.instance != holder:
                    raise Transient(f"the holder of YubiKey {serial} lost its lease before it replied")
            result = from_json((await response).data)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError) as error:
            raise Transient(f"the holder of YubiKey {serial} does not reply") from error
        finally:
            response.cancel()
        if result.get("poison"):
            raise Poison(result["poison"])
        if result.get("again"):
            raise Transient(result["again"])

    def _on_forwarded(self, request: Msg) -> None:
        task = asyncio.create_task(self._handle_forwarded(request))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _handle_forwarded(self, request: Msg) -> None:
        assert self._handle is not None
        result: dict[str, str] = {}
        try:
            message = _decode_forwarded(self._client, request.data)
            serial = _serial_in(message)
            if serial is None or not self._leases.holds(serial):
                raise Transient(f"YubiKey {serial} is no longer leased by the process that got the command")  # noqa: TRY301 - as below
            await self._handle(message)
        except Poison as error:
            result = {"poison": str(error)}
        except (Conflict, Transient, nats.errors.Error, OSError, TimeoutError) as error:
            result = {"again": str(error) or type(error).__name__}
        except Exception:
            log.exception("a forwarded command failed")
            result = {"again": "it failed in the process that leases the device; see its log"}
        with contextlib.suppress(nats.errors.Error):  # the forwarding process has its own timeout
            await request.respond(to_json(result))


def _decode_forwarded(client: Client, data: bytes) -> Msg:
    """Decodes the message as JetStream delivered it, with its reply subject: derived ids depend on its metadata."""
    try:
        forwarded = from_json(data)
        body = base64.b64decode(forwarded["data"], validate=True)
        subject, reply, headers = str(forwarded["subject"]), str(forwarded["reply"]), forwarded["headers"]
    except (ValueError, KeyError, TypeError) as error:
        raise Poison("the forwarded message is not a command") from error
    return Msg(_client=client, subject=subject, reply=reply, data=body, headers=headers)


def _serial_in(message: Msg) -> int | None:
    """The device of a command; None if the body names none, or the command is not routed."""
    if catalog().commands.get(message.subject) in _UNROUTED_COMMANDS:
        return None
    try:
        body: Any = from_json(message.data)
        return int(body["serial"])
    except (ValueError, KeyError, TypeError, ValidationError):
        return None
