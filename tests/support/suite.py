"""The whole suite, like `make up`, on free ports, and its observation from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from deploy.settings import LocalSuite
from deploy.supervisor import Supervisor
from shared.messages.headers import Header, NatsHeader
from shared.messages.ids import derive_id, new_id
from shared.nats.kv import read_until_end
from shared.nats.ordered_consumer import ordered_subscribe
from tests.support.nats import connected, free_port

ENDS = frozenset({"completed", "compensated", "failed"})


@dataclass
class StoredEvent:
    """A stored event."""

    sequence: int
    subject: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def tokens(self) -> list[str]:
        return self.subject.split(".")


@dataclass
class Suite:
    local: LocalSuite
    client: Client
    issuer_id: str = ""
    doomed_id: str = ""
    bootstrap_request: dict[str, Any] = field(default_factory=dict)
    bootstrapped: StoredEvent | None = None
    chain: list[str] = field(default_factory=list)

    def pid(self, name: str) -> int:
        return {n: int(p) for n, p in (line.split() for line in self.local.pids.read_text().splitlines())}[name]

    async def publish(self, command: str, body: Any, headers: dict[str, str] | None = None) -> None:
        """Publishes with the same id until the message is stored."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {NatsHeader.MSG_ID: str(uuid4()), **(headers or {})}
        while True:
            try:
                await self.client.jetstream().publish(f"keys.commands.{command}", data, headers=dict(headers))
            except nats.errors.TimeoutError:
                await self.client.force_reconnect()  # it may be cut off from its peers
            except (nats.errors.Error, nats.js.errors.Error):
                await asyncio.sleep(0.2)
            else:
                return

    async def start_saga(self, saga_type: str, saga_id: str | None = None, **body: Any) -> str:
        saga_id = saga_id or str(uuid4())
        await self.publish(f"saga.{saga_type}.start", {**body, "saga_id": saga_id})
        return saga_id

    async def doomed_issuer(self) -> str:
        """Returns an issuer whose key is revoked: provisioning sagas fail when it must sign."""
        if not self.doomed_id:
            ca = {"common_name": "Doomed", "algorithm": "ec-p256", "validity_days": 3650}
            saga_id = await self.start_saga("pki-bootstrap", organization="Doomed", root=ca, intermediate=ca)
            self.doomed_id = (await self.end_of(saga_id)).body["intermediate_certificate_id"]
            await self.ask("key.revoke", {"key_id": str(derive_id(UUID(saga_id), "intermediate-key"))})
        return self.doomed_id

    async def provision(self, saga_id: str | None = None, *, doomed: bool = False, **body: Any) -> str:
        if doomed:
            body["issuer_id"] = await self.doomed_issuer()
        standard = {
            "issuer_id": self.issuer_id,
            "subject": {"common_name": "Alice", "email": "alice@acme.example"},
            "purpose": "authentication",
            "yubikey_serial": "42000001",
            "key_origin": "on-device",
            "validity_days": 365,
        }
        return await self.start_saga("certificate-provisioning", saga_id, **{**standard, **body})

    async def end_of(self, saga_id: str, within: float = 60) -> StoredEvent:
        return await self.last_event(f"keys.events.saga.*.*.{saga_id}", within, ENDS)

    async def last_event(self, pattern: str, within: float = 20, kinds: frozenset[str] | None = None) -> StoredEvent:
        """Waits for an event under *pattern* (of *kinds*: the fifth token of its subject); returns the last one."""
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
                    last = await self.client.jetstream().get_msg("KEYS_EVENTS", subject=pattern)
                    event = StoredEvent(
                        last.seq or 0, last.subject or "", last.headers or {}, json.loads(last.data or b"")
                    )
                    if kinds is None or event.tokens[4] in kinds:
                        return event
                await asyncio.sleep(0.02)

    async def ask(
        self, command: str, body: Any, headers: dict[str, str] | None = None, within: float = 20
    ) -> StoredEvent:
        """Publishes a command with a new id; returns the first event that it causes."""
        command_id = (headers or {}).get(Header.COMMAND_ID) or str(new_id())
        inbox = await self.client.subscribe("keys.events.>")
        try:
            await self.publish(command, body, {Header.COMMAND_ID: command_id, **(headers or {})})
            async with asyncio.timeout(within):
                while True:
                    message = await inbox.next_msg(timeout=within)
                    received = dict(message.headers or {})
                    if received.get(Header.CAUSATION_ID) == command_id:
                        return StoredEvent(0, message.subject, received, json.loads(message.data))
        finally:
            await inbox.unsubscribe()

    async def events(self, pattern: str = "keys.events.>") -> list[StoredEvent]:
        """Returns the log's events on *pattern* in order, read from the leader, which is ahead of replicas."""
        js = self.client.jetstream()
        try:
            last = (await js.get_msg("KEYS_EVENTS", subject=pattern)).seq or 0
        except nats.js.errors.NotFoundError:
            return []
        while True:
            subscription = await ordered_subscribe(js, "KEYS_EVENTS", pattern, ConsumerConfig())
            found = [
                StoredEvent(
                    message.metadata.sequence.stream,
                    message.subject,
                    dict(message.headers or {}),
                    json.loads(message.data),
                )
                async for message in read_until_end(subscription)
            ]
            if found and found[-1].sequence >= last:
                return found

    async def announced(self, saga_id: str) -> list[StoredEvent]:
        """Returns the announcements of a saga, in the order of the log."""
        return [event for event in await self.events("keys.events.saga.>") if event.body["saga_id"] == saga_id]

    async def sees_in_slot(self, serial: str, slot: str) -> StoredEvent:
        """Verifies the slot; returns the outcome."""
        return await self.ask("yubikey.verify-slot", {"serial": serial, "slot": slot})

    async def bootstrap(self, **changes: Any) -> None:
        ca = {"algorithm": "ec-p256", "validity_days": 3650}
        body = {
            "organization": "Acme",
            "root": {"common_name": "Acme Root", **ca},
            "intermediate": {"common_name": "Acme Issuing", **ca},
        }
        self.bootstrap_request = {**body, **changes, "saga_id": str(uuid4())}
        end = await self.end_of(await self.start_saga("pki-bootstrap", **self.bootstrap_request))
        assert end.tokens[4] == "completed", end.body
        self.bootstrapped = end
        self.issuer_id = end.body["intermediate_certificate_id"]
        self.chain = [end.body["root_certificate_pem"], end.body["intermediate_certificate_pem"]]


@asynccontextmanager
async def suite_up(state: Path, serials: list[int], **more: Any) -> AsyncIterator[Suite]:
    """Runs a suite; *more*: other fields of LocalSuite."""
    ports = {"port": free_port(), "http_port": free_port()}
    local = LocalSuite(**{"state": state, "virtual_yubikeys": ",".join(map(str, serials)), **ports, **more})
    supervisor = Supervisor(local)
    try:
        await supervisor.start()
        async with connected(local.url, local.access("operator"), "operator") as client:
            yield Suite(local, client)
    finally:
        await supervisor.stop()
