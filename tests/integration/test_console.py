"""The console against a real server: every test is a person at a terminal, and the suite is a few lines that answer."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import pytest

from shared.contracts.command import CommandRejected, CommandRepeated
from shared.contracts.key import KeyGenerated
from shared.contracts.saga import (
    LeftOver,
    PkiBootstrapCompleted,
    SagaCompensated,
    SagaCompensating,
    SagaFailed,
    SagaStarted,
    SagaStepFinished,
)
from shared.envelope import seal_event
from shared.headers import Lineage, SagaContext, command_lineage
from shared.identity import derive, new_id
from shared.kv import KeyValue
from shared.streams import declare
from tests.support.nats import free_port

PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
BOOTSTRAP = ("saga.pki-bootstrap.start", "--json", '{"organization": "Acme"}')
STEPS = ("generate-root-key", "create-root-certificate")


@pytest.fixture(name="suite")
async def _suite(server, client):
    await declare(client)
    return Suite(server.url, client)


class Suite:
    """The wire's other end: answers commands with the events that a test says."""

    def __init__(self, url, client):
        self.url = url
        self.client = client
        self.asked = []

    async def answers(self, answer):
        """Have *answer*, given a command's lineage and body, publish what the command leads to."""

        async def on_command(message):
            self.asked.append(message)
            await answer(command_lineage(message.headers, new_id()), json.loads(message.data))

        await self.client.subscribe("keys.commands.>", cb=on_command)
        await self.client.flush()

    async def tell(self, event, lineage, source="key"):
        sealed = seal_event(event, lineage, source)
        await self.client.jetstream().publish(sealed.subject, sealed.payload, headers=sealed.headers)
        return sealed

    async def announce(self, origin, kind, saga_id, sequence, **fields):
        heading = {"saga_id": saga_id, "saga_type": "pki-bootstrap", "sequence": sequence}
        lineage = Lineage(
            derive(origin, f"{kind.__name__}/{sequence}"),
            origin,
            origin if sequence == 0 else new_id(),
            saga=SagaContext("pki-bootstrap", saga_id, fields.get("step") or ""),
        )
        return await self.tell(kind(**heading, **fields), lineage, "saga")

    async def cim_keys(self, *arguments, stdin=None):
        return await cim_keys(self.url, *arguments, stdin=stdin)


async def started(url, *arguments, **streams):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.console", *arguments),
        env=os.environ | {"NATS_URL": url, "CIM_ACTOR": "ada"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **streams,
    )


async def cim_keys(url, *arguments, stdin=None):
    """Exit status, stdout, stderr."""
    process = await started(url, *arguments, stdin=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin)
    said = err.decode()
    assert "Traceback" not in said
    return process.returncode, out, said


def generated(key_id):
    return KeyGenerated(
        key_id=key_id,
        algorithm="ec-p256",
        public_key_pem=PEM,
        fingerprint_sha256="ab" * 32,
        purpose="digital-signature",
        provenance="software",
        exportable=False,
    )


def made_up(kind, **fields):
    return kind.model_validate_json(json.dumps(fields))


def key_answer(suite):
    async def answer(lineage, body):
        key_id = body.get("key_id") or str(derive(lineage.message_id, "key_id"))
        event = KeyGenerated.model_validate_json(generated_json(key_id))
        await suite.tell(event, lineage.cause("KeyGenerated"))

    return answer


def generated_json(key_id):
    return json.dumps(
        {
            "key_id": key_id,
            "algorithm": "ec-p256",
            "public_key_pem": PEM,
            "fingerprint_sha256": "ab" * 32,
            "purpose": "digital-signature",
            "provenance": "software",
            "exportable": False,
        }
    )
