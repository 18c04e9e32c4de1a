"""Fake services on the wire for tests of the coordinator: they send the outcomes of toy services, or none."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP_1
from services.saga.service import saga_service
from shared.contracts.registry import MESSAGES
from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.envelope import encode_event, subject_of
from shared.messages.headers import Header, command_lineage
from shared.messages.ids import new_id
from tests.support.settings import saga_settings
from tests.support.toy_services import ISSUER_ID, ISSUER_KEY, Toys

AUTHORITY = {"common_name": "Toy CA", "algorithm": "ec-p256", "validity_days": 365}
REQUEST = {"organization": "Acme", "root": AUTHORITY, "intermediate": AUTHORITY}


class FakeServices:
    """*silent*: steps without an outcome; *refusing*: retryable rejections by step; *copies*: messages an outcome."""

    def __init__(self, client):
        self._client = client
        self.js = client.jetstream()
        self.sent = []
        self.silent = set()
        self.unanswered = []
        self.rejections = Counter()
        self.copies = 1
        self.toys = Toys()
        self.toys.log["key", ISSUER_ID].append(ISSUER_KEY)
        self._answers = {}

    async def listen(self):
        for aggregate in ("key", "certificate", "ocsp", "ssh-certificate", "trust-bundle"):
            await self._client.subscribe(f"keys.commands.{aggregate}.>", cb=self._on_command)

    async def _on_command(self, message):
        headers, step = message.headers, message.headers[Header.SAGA_STEP]
        self.sent.append((headers[Header.SAGA_ID], step, headers[Header.COMMAND_ID]))
        if step in self.silent:
            self.unanswered.append(message)
        else:
            await self.answer(message)

    async def answer(self, message):
        step, kind = message.headers[Header.SAGA_STEP], message.headers[Header.COMMAND_TYPE]
        lineage = command_lineage(message.headers, new_id())
        command = MESSAGES[kind].model_validate_json(message.data)
        about = {"command_id": str(lineage.message_id), "command_type": kind, "aggregate_id": command.identity}
        if self.rejections[step] > 0:
            self.rejections[step] -= 1
            event = CommandRejected(**about, code=RejectionCode.UNAVAILABLE, message="not now", retryable=True)
        else:
            event = self._answers.setdefault(lineage.message_id, None) or self._decided(command, about)
            self._answers[lineage.message_id] = event
        for copy in range(self.copies):
            await self.publish(event, lineage.cause(f"{kind}/{copy}"))

    def _decided(self, command, about):
        match self.toys.answer(command):
            case Rejection(code=code, message=problem, retryable=retryable):
                return CommandRejected(**about, code=code, message=problem, retryable=retryable)
            case AlreadyDone():
                return CommandRepeated(**about)
            case event:
                return event

    async def publish(self, event, lineage):
        encoded = encode_event(event, lineage, "stand-in")
        await self.js.publish(encoded.subject, encoded.payload, headers=encoded.headers)

    def steps_sent(self, saga_id):
        """Returns the steps whose commands were sent, in order, without repetitions."""
        return [step for (saga, step, _) in dict.fromkeys(self.sent) if saga == saga_id]

    async def begin(self, **changes):
        saga_id = str(new_id())
        start = PKI_BOOTSTRAP_1.request.model_validate({**REQUEST, "saga_id": saga_id, **changes}, strict=False)
        await self.start(start)
        return saga_id

    async def start(self, request):
        await self.js.publish(str(subject_of(request)), request.model_dump_json().encode())

    async def revision(self, saga_id):
        return (await self.js.get_msg("KV_KEYS_SAGAS", subject=f"$KV.KEYS_SAGAS.*.{saga_id}")).seq

    async def waits_for(self, saga_id):
        """Returns the pending commands of the saga's entry and its number of announcements."""
        entry = await self.js.get_msg("KV_KEYS_SAGAS", subject=f"$KV.KEYS_SAGAS.*.{saga_id}")
        saga = json.loads(entry.data)
        return saga["phase"], saga["questions"], saga["sequence"]

    async def everything_is_processed(self):
        """True if the coordinator has acknowledged all its messages."""
        infos = [
            await self.js.consumer_info(stream, durable)
            for stream, durable in (("KEYS_EVENTS", "saga-events"), ("KEYS_COMMANDS", "saga"))
        ]
        return not any((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)


def impatient(definition, **within):
    """Returns the definition with shorter timeouts of some steps, by command name."""
    steps = tuple(
        replace(step, timeout=within[name]) if (name := step.command.__name__) in within else step
        for step in definition.steps
    )
    return replace(definition, steps=steps)


@asynccontextmanager
async def coordinating(url, *definitions, retries=None):
    app = saga_service(saga_settings(url), definitions or (PKI_BOOTSTRAP_1,), retries=retries)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
