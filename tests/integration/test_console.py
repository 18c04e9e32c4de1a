"""The console against a real server and a minimal fake suite."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import pytest
from nats.js.errors import NotFoundError

from services.saga.definitions.certificate_issuance import CERTIFICATE_ISSUANCE
from shared.contracts.certificate.value_types import DistinguishedName, Profile
from shared.contracts.key.events import KeyGenerated
from shared.contracts.key.value_types import Algorithm, Provenance, Purpose
from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.contracts.saga.certificates import PkiBootstrapCompleted, StartCertificateIssuance
from shared.contracts.saga.protocol import (
    LeftOver,
    SagaCompensated,
    SagaCompensating,
    SagaFailed,
    SagaStarted,
    SagaStepFinished,
)
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage, SagaContext, command_lineage
from shared.messages.ids import derive_id, new_id
from shared.nats.client import flush_subscriptions
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.fake_services import FakeServices, coordinating
from tests.support.nats import free_port
from tests.support.toy_services import ISSUER_ID
from tests.support.waiting import until

DONE, NOT_DONE, WRONG_USAGE, NO_OUTCOME, NO_CONNECTION = range(5)
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
GENERATE = ("send", "key.generate", "--algorithm", "ec-p256")
START = ("send", "saga.pki-bootstrap.start", "--organization", "Acme", "--root.common_name", "Acme Root")
STEPS = ("generate-root-key", "create-root-certificate")


class Suite:
    """The wire's other end: answers commands with the events that a test says."""

    def __init__(self, url, client):
        self.url = url
        self.client = client
        self.published = []

    async def answers(self, answer):
        """Have *answer*, given a command's lineage and body, tell what the command leads to."""

        async def on_command(message):
            self.published.append(message)
            await answer(command_lineage(message.headers, new_id()), json.loads(message.data))

        await self.client.subscribe("keys.commands.>", cb=on_command)
        await flush_subscriptions(self.client)

    async def tell(self, event, lineage, source="key"):
        sealed = encode_event(event, lineage, source)
        await self.client.jetstream().publish(sealed.subject, sealed.payload, headers=sealed.headers)
        return sealed.payload

    async def announce(self, origin, saga_id, kind, sequence, **fields):
        """*origin* is the command that began the saga, or the one that this announcement answers."""
        lineage = Lineage(
            message_id=new_id(),
            correlation_id=origin,
            causation_id=origin if kind in (SagaStarted, SagaCompensating) else new_id(),
            saga=SagaContext("pki-bootstrap", saga_id, fields.get("step") or ""),
        )
        event = kind(saga_id=saga_id, saga_type="pki-bootstrap", sequence=sequence, **fields)
        return await self.tell(event, lineage, "saga")

    async def begin(self, origin, saga_id):
        await self.announce(origin, saga_id, SagaStarted, 0, definition_version=1, steps=STEPS)

    async def complete(self, origin, saga_id, sequence=1):
        ids = {"root_certificate_id": str(new_id()), "intermediate_certificate_id": str(new_id())}
        pems = {"root_certificate_pem": PEM, "intermediate_certificate_pem": PEM}
        return await self.announce(origin, saga_id, PkiBootstrapCompleted, sequence, **ids, **pems)

    async def compensate(self, origin, saga_id, sequence=1):
        why = {"step": STEPS[0], "code": "cancelled", "reason": "no reason", "steps_to_undo": STEPS[:1]}
        await self.announce(origin, saga_id, SagaCompensating, sequence, **why)
        await self.announce(origin, saga_id, SagaCompensated, sequence + 1, reason="no reason", undone=STEPS[:1])

    async def cim_keys(self, *arguments, stdin=b""):
        return await cim_keys(self.url, *arguments, stdin=stdin)


@pytest.fixture(name="suite")
async def _suite(server, client):
    await declare(client)
    return Suite(server.url, client)


async def begun(url, *arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.console", *arguments),
        env=os.environ | {"NATS_URL": url, "CIM_ACTOR": "ada"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def cim_keys(url, *arguments, stdin=b""):
    """Exit status, stdout, stderr."""
    process = await begun(url, *arguments)
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin)
    assert b"Traceback" not in err
    return process.returncode, out.decode(), err.decode()


async def asked_of(suite):
    """The first command that is stored."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NotFoundError):
                return await suite.client.jetstream().get_msg("KEYS_COMMANDS", seq=1)
            await asyncio.sleep(0.02)


def generated(lineage, body):
    return KeyGenerated(
        key_id=body.get("key_id") or str(derive_id(lineage.message_id, "key_id")),
        algorithm=Algorithm.EC_P256,
        public_key_pem=PEM,
        fingerprint_sha256="ab" * 32,
        purpose=Purpose.DIGITAL_SIGNATURE,
        provenance=Provenance.SOFTWARE,
        exportable=False,
    )


async def answering_keys(suite):
    async def answer(lineage, body):
        await suite.tell(generated(lineage, body), lineage.cause("KeyGenerated"))

    await suite.answers(answer)


async def test_a_command_is_sent_with_its_headers_and_its_outcome_shown(suite):
    await answering_keys(suite)

    status, out, err = await suite.cim_keys(*GENERATE)

    [command] = suite.published
    assert (status, err) == (DONE, "")
    assert out.startswith("key.generated ")
    assert out.endswith(f"\npublic_key_pem\n{PEM}")
    assert command.subject == "keys.commands.key.generate"
    assert json.loads(command.data) == {"algorithm": "ec-p256"}
    assert command.headers["CIM-Actor"] == "ada"
    assert command.headers["CIM-Source"] == "console"
    assert command.headers["CIM-Command-Type"] == "GenerateKey"
    assert command.headers["CIM-Command-Id"] == command.headers["Nats-Msg-Id"] == command.headers["CIM-Correlation-Id"]


async def test_json_is_the_payload_as_it_was_published(suite):
    published = []

    async def answer(lineage, body):
        published.append(await suite.tell(generated(lineage, body), lineage.cause("KeyGenerated")))

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*GENERATE, "--output", "json")

    assert status == DONE
    assert out == published[0].decode() + "\n"


async def test_the_outcome_of_somebody_elses_command_is_not_ours(suite):
    key_id = str(new_id())

    async def answer(lineage, body):
        await suite.tell(generated(lineage, body), Lineage.root(new_id()))

    await suite.answers(answer)

    status, _, err = await suite.cim_keys(*GENERATE, "--key_id", key_id, "--timeout", "0.5")

    assert status == NO_OUTCOME
    assert "no outcome of key.generate within 0.5 s" in err
    assert len(err.splitlines()) == 1


async def test_a_body_may_come_from_stdin(suite):
    await answering_keys(suite)

    flags = ("--file", "-", "--label", "x")
    status, _, _ = await suite.cim_keys("send", "key.generate", *flags, stdin=b'{"owner": "ada"}')

    assert status == DONE
    assert json.loads(suite.published[0].data) == {"owner": "ada", "label": "x"}


async def test_a_rejection_is_shown_and_is_no_success(suite):
    async def answer(lineage, _):
        rejected = CommandRejected(
            command_id=str(lineage.message_id),
            command_type="GenerateKey",
            code=RejectionCode.INVALID,
            message="algorithm: Field required \x1b[2J",
        )
        await suite.tell(rejected, lineage.cause("CommandRejected"))

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys("send", "key.generate")

    assert status == NOT_DONE
    assert "command.rejected" in out
    assert "algorithm: Field required" in out
    assert "\x1b" not in out


async def test_what_stands_already_is_done(suite):
    async def answer(lineage, _):
        repeated = CommandRepeated(command_id=str(lineage.message_id), command_type="GenerateKey")
        await suite.tell(repeated, lineage.cause("CommandRepeated"))

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*GENERATE)

    assert status == DONE
    assert "command.repeated" in out


async def test_without_waiting_it_is_enough_that_the_command_is_stored(suite):
    status, out, _ = await suite.cim_keys(*GENERATE, "--no-wait", "--output", "json")

    stored = await suite.client.jetstream().get_msg("KEYS_COMMANDS", seq=json.loads(out)["sequence"])
    assert status == DONE
    assert stored.headers["CIM-Command-Id"] == json.loads(out)["command_id"]


async def test_an_outcome_that_was_told_while_the_console_was_cut_off_is_found_in_the_stream(server, suite):
    process = await begun(suite.url, *GENERATE, "--timeout", "3")
    command = await asked_of(suite)
    process.send_signal(signal.SIGSTOP)
    server.kill()
    await server.start()
    lineage = command_lineage(command.headers, new_id())
    await suite.tell(generated(lineage, {}), lineage.cause("KeyGenerated"))
    process.send_signal(signal.SIGCONT)

    async with asyncio.timeout(20):
        out, _ = await process.communicate()

    assert process.returncode == DONE
    assert out.startswith(b"key.generated")


async def test_a_saga_is_waited_for_until_its_end(suite):
    async def answer(lineage, _):
        saga_id = str(derive_id(lineage.message_id, "saga_id"))
        await suite.begin(lineage.message_id, saga_id)
        await suite.complete(lineage.message_id, saga_id)

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*START)

    assert status == DONE
    assert out.startswith("saga.pki-bootstrap.completed")
    assert out.count("BEGIN PUBLIC KEY") == 2
    assert json.loads(suite.published[0].data) == {"organization": "Acme", "root": {"common_name": "Acme Root"}}


async def test_a_saga_that_was_compensated_is_not_done(suite):
    async def answer(lineage, body):
        await suite.begin(lineage.message_id, body["saga_id"])
        await suite.compensate(lineage.message_id, body["saga_id"])

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*START, "--saga_id", str(new_id()), "--output", "json")

    assert status == NOT_DONE
    assert json.loads(out)["undone"] == ["generate-root-key"]


async def test_a_saga_that_failed_says_what_is_left_over(suite):
    async def answer(lineage, body):
        left = (LeftOver(step="generate-root-key", reason="the key service is away"),)
        failed = {"reason": "timeout", "undone": (), "left_over": left}
        await suite.announce(lineage.message_id, body["saga_id"], SagaFailed, 1, **failed)

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*START, "--saga_id", str(new_id()))

    assert status == NOT_DONE
    assert "the key service is away" in out


async def test_a_repeated_start_of_a_saga_that_is_over_shows_its_earlier_end(suite):
    saga_id = str(new_id())
    await suite.complete(new_id(), saga_id)

    async def answer(lineage, _):
        repeated = CommandRepeated(
            command_id=str(lineage.message_id), command_type="StartPkiBootstrap", aggregate_id=saga_id
        )
        await suite.tell(repeated, lineage.cause("CommandRepeated"), "saga")

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*START, "--saga_id", saga_id)

    assert status == DONE
    assert out.startswith("saga.pki-bootstrap.completed")


async def test_the_end_of_another_saga_with_our_id_does_not_answer_a_start_that_is_refused(suite):
    saga_id = str(new_id())

    async def answer(lineage, _):
        await suite.complete(new_id(), saga_id)
        rejected = CommandRejected(
            command_id=str(lineage.message_id), command_type="x", code=RejectionCode.CONFLICT, message="another request"
        )
        await suite.tell(rejected, lineage.cause("CommandRejected"), "saga")

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys(*START, "--saga_id", saga_id)

    assert status == NOT_DONE
    assert "another request" in out


async def test_a_saga_is_cancelled_and_its_undoing_waited_for(suite):
    async def answer(lineage, body):
        await suite.compensate(lineage.message_id, body["saga_id"])

    await suite.answers(answer)

    status, out, _ = await suite.cim_keys("sagas", "cancel", str(new_id()), "--reason", "wrong name")

    assert status == DONE
    assert out.startswith("saga.pki-bootstrap.compensated")
    assert json.loads(suite.published[0].data)["reason"] == "wrong name"


async def test_no_connection_is_said_in_one_line_without_the_password():
    status, out, err = await cim_keys(f"nats://ada:secret@127.0.0.1:{free_port()}", *GENERATE)

    assert (status, out) == (NO_CONNECTION, "")
    assert "no connection to 127.0.0.1" in err
    assert "secret" not in err
    assert len(err.splitlines()) == 1


async def test_a_server_without_the_suite_is_told_from_one_that_is_slow(server):
    status, _, err = await cim_keys(server.url, *GENERATE)

    assert status == NO_CONNECTION
    assert "no stream on this server has the subject keys.commands.key.generate" in err


async def test_sagas_of_a_server_without_the_suite_are_not_an_empty_list(server):
    status, _, err = await cim_keys(server.url, "sagas", "list")

    assert status == NO_CONNECTION
    assert "start the suite on it first" in err


async def test_wrong_usage_needs_no_server():
    status, out, err = await cim_keys("nats://127.0.0.1:1", "send", "key.genrate")

    assert (status, out) == (WRONG_USAGE, "")
    assert "did you mean key.generate?" in err
    assert len(err.splitlines()) == 1


async def test_commands_lists_every_command_with_its_fields():
    status, out, _ = await cim_keys("nats://127.0.0.1:1", "commands")

    assert status == DONE
    assert "key.generate " in out
    assert "root.common_name*" in out


class Watching:
    """A console that watches; ready once it says so."""

    @classmethod
    async def begin(cls, suite, *arguments):
        self = cls()
        self.process = await begun(suite.url, "watch", *arguments)
        assert b"watching" in await self.process.stderr.readline()
        return self

    async def line(self):
        async with asyncio.timeout(10):
            return (await self.process.stdout.readline()).decode()

    async def end(self, event=None):
        """Exit status, and the lines that were not read yet."""
        if event is not None:
            self.process.send_signal(event)
        async with asyncio.timeout(10):
            out, err = await self.process.communicate()
        assert b"Traceback" not in err
        return self.process.returncode, out.decode().splitlines()


@pytest.mark.parametrize("event", [signal.SIGINT, signal.SIGTERM])
async def test_watching_prints_a_line_at_once_and_ends_well_when_told_to(suite, event):
    watching = await Watching.begin(suite)
    lineage = Lineage.root(new_id())
    await suite.client.publish("keys.commands.key.generate", b'{"algorithm": "ec-p256"}')
    line = await watching.line()
    await suite.tell(generated(lineage, {}), lineage.cause("KeyGenerated"))
    reported = await watching.line()

    assert "→ key.generate" in line
    assert "ec-p256" in line
    assert "key          key.generated " in reported
    assert str(derive_id(lineage.message_id, "key_id"))[-8:] in reported
    assert await watching.end(event) == (DONE, [])


async def test_a_watched_saga_is_shown_step_by_step_and_ends_the_watch(suite):
    origin, saga_id = new_id(), str(new_id())
    watching = await Watching.begin(suite, "--saga", saga_id)
    in_saga = Lineage(
        message_id=new_id(),
        correlation_id=origin,
        causation_id=new_id(),
        saga=SagaContext("pki-bootstrap", saga_id, STEPS[0]),
    )

    await suite.begin(origin, saga_id)
    await suite.tell(generated(in_saga, {}), in_saga)
    await suite.tell(generated(Lineage.root(new_id()), {}), Lineage.root(new_id()))
    await suite.announce(origin, saga_id, SagaStepFinished, 1, step=STEPS[0], attempts=2)
    await suite.complete(origin, saga_id, 2)
    status, lines = await watching.end()

    assert status == DONE
    assert [line[27:].split("  " + saga_id[-8:])[0].rstrip() for line in lines if "key.generated" not in line] == [
        "▸ saga.pki-bootstrap.started",
        "  ✓ 1/2 generate-root-key",
        "● saga.pki-bootstrap.completed",
    ]
    assert [line[27:].split()[0] for line in lines if "key.generated" in line] == ["key.generated"]
    assert "attempt 2" in lines[2]


async def test_watching_since_the_start_replays_what_was_said_once(suite):
    origin, saga_id = new_id(), str(new_id())
    await suite.begin(origin, saga_id)
    await suite.announce(origin, saga_id, SagaStepFinished, 1, step=STEPS[0], attempts=1)
    watching = await Watching.begin(suite, "--saga", saga_id, "--since-start", "--json")
    replayed = [json.loads(await watching.line()) for _ in range(2)]

    await suite.compensate(origin, saga_id, 2)
    status, lines = await watching.end()

    assert status == DONE
    assert [event["body"]["sequence"] for event in replayed + [json.loads(line) for line in lines]] == [0, 1, 2, 3]
    assert replayed[0]["headers"]["CIM-Saga-Id"] == saga_id


async def test_a_conversation_is_followed_by_its_correlation(suite):
    first, second = Lineage.root(new_id()), Lineage.root(new_id())
    for lineage in (first, second):
        await suite.tell(generated(lineage, {}), lineage.cause("KeyGenerated"))
    watching = await Watching.begin(suite, "--correlation", str(second.message_id), "--since-start")

    shown = await watching.line()

    assert str(derive_id(second.message_id, "key_id"))[-8:] in shown
    assert await watching.end(signal.SIGTERM) == (DONE, [])


async def test_a_watch_that_begins_while_its_saga_ends_ends_too(suite):
    origin, saga_id = new_id(), str(new_id())
    process = await begun(suite.url, "watch", "--saga", saga_id)
    await suite.begin(origin, saga_id)
    for attempt in range(200):
        await suite.announce(origin, saga_id, SagaStepFinished, attempt + 1, step=f"step-{attempt}", attempts=1)
        await asyncio.sleep(0.003)
    await suite.complete(origin, saga_id, 201)

    async with asyncio.timeout(10):
        out, _ = await process.communicate()

    assert process.returncode == DONE
    assert "● saga.pki-bootstrap.completed" in out.decode().splitlines()[-1]


async def test_watching_a_saga_that_is_over_shows_how_it_ended(suite):
    saga_id = str(new_id())
    await suite.complete(new_id(), saga_id)

    status, out, _ = await suite.cim_keys("watch", "--saga", saga_id)

    assert status == DONE
    assert "● saga.pki-bootstrap.completed" in out


def stored_saga(saga_id, origin, **changes):
    """An entry as the coordinator's store writes it (schema 1)."""
    now = datetime.now(UTC)
    question = {
        "step": "create-root-certificate",
        "part": None,
        "attempt": 2,
        "cause": str(new_id()),
        "deadline": (now + timedelta(seconds=30)).isoformat(),
        "send_at": None,
    }
    entry = {
        "schema": 1,
        "saga_type": "pki-bootstrap",
        "saga_id": saga_id,
        "version": 1,
        "phase": "running",
        "request": {"saga_id": saga_id, "organization": "Acme", "root": {"common_name": "Acme Root"}},
        "origin": {"command_id": str(origin), "correlation_id": str(origin), "actor": "ada", "trace": []},
        "deadline": (now + timedelta(seconds=300)).isoformat(),
        "question": question,
        "answers": [],
        "to_undo": [],
        "undone": [],
        "left_over": [],
        "reason": "",
        "cancelled_by": None,
        "sequence": 2,
        "announcements": [],
        "armed": None,
        "changed_at": now.isoformat(),
    }
    return entry | changes


@pytest.fixture(name="saga_id")
async def _saga_id(suite):
    """A saga at its second step, as the coordinator keeps it and as it told of it."""
    origin, saga_id = new_id(), str(new_id())
    bucket = KeyValue(suite.client.jetstream(), "KEYS_SAGAS")
    await bucket.put(f"pki-bootstrap.{saga_id}", json.dumps(stored_saga(saga_id, origin)).encode(), 0)
    await suite.begin(origin, saga_id)
    await suite.announce(origin, saga_id, SagaStepFinished, 1, step=STEPS[0], attempts=1)
    return saga_id


async def test_sagas_are_listed_with_what_they_wait_for(suite, saga_id):
    status, out, _ = await suite.cim_keys("sagas", "list")
    _, none, _ = await suite.cim_keys("sagas", "list", "--phase", "failed", "--json")
    _, some, _ = await suite.cim_keys("sagas", "list", "--type", "pki-bootstrap", "--json")

    heading, line = out.splitlines()
    assert status == DONE
    assert heading.split() == ["TYPE", "ID", "PHASE", "WAITS", "FOR", "AGE", "LAST", "CHANGE"]
    assert line.split()[:4] == ["pki-bootstrap", saga_id, "running", "create-root-certificate"]
    assert json.loads(none) == []
    assert [entry["saga_id"] for entry in json.loads(some)] == [saga_id]


async def test_a_saga_is_shown_with_its_request_and_timeline(suite, saga_id):
    status, out, _ = await suite.cim_keys("sagas", "show", saga_id)

    assert status == DONE
    assert "root.common_name  Acme Root" in out
    assert "started" in out
    assert "step generate-root-key" in out
    assert "waits for create-root-certificate, attempt 2, until " in out


async def test_a_saga_may_be_named_by_the_end_of_its_id(suite, saga_id):
    status, out, _ = await suite.cim_keys("sagas", "show", saga_id[-8:], "--json")

    shown = json.loads(out)
    assert status == DONE
    assert shown["saga_id"] == saga_id
    assert [event["sequence"] for event in shown["timeline"]] == [0, 1]


async def test_a_saga_that_needs_a_person_shows_what_is_left(suite):
    saga_id = str(new_id())
    undoing = {
        "step": "create-root-certificate",
        "part": 0,
        "attempt": 1,
        "cause": saga_id,
        "deadline": "2026-11-21T12:00:00Z",
        "send_at": None,
    }
    entry = stored_saga(
        saga_id,
        new_id(),
        phase="compensating",
        question=undoing,
        to_undo=[["generate-root-key", 0], ["generate-root-key", 1]],
        left_over=[{"step": "attach", "reason": "gone"}],
        reason="timeout: no answer",
    )
    bucket = KeyValue(suite.client.jetstream(), "KEYS_SAGAS")
    await bucket.put(f"pki-bootstrap.{saga_id}", json.dumps(entry).encode(), 0)

    _, out, _ = await suite.cim_keys("sagas", "show", saga_id)

    assert "waits for undo.create-root-certificate" in out
    assert "left to undo: create-root-certificate, generate-root-key" in out
    assert "left over: attach: gone" in out
    assert "undone because: timeout: no answer" in out


async def test_a_saga_that_is_not_there_is_said_not_to_be(suite):
    status, _, err = await suite.cim_keys("sagas", "show", str(new_id()))

    assert status == NOT_DONE
    assert "there is no saga" in err


async def test_what_a_saga_waits_for_is_shown_and_said(suite):
    services = FakeServices(suite.client)
    await services.listen()
    saga_id, name = str(new_id()), DistinguishedName(common_name="www")
    how = {"profile": Profile.TLS_SERVER, "csr_pem": PEM, "validity_days": 90, "approvals": 1}
    async with coordinating(suite.url, CERTIFICATE_ISSUANCE):
        await services.start(StartCertificateIssuance(saga_id=saga_id, issuer_id=ISSUER_ID, subject=name, **how))
        await until(lambda: _asks_for_people(suite, saga_id))

        _, shown, _ = await suite.cim_keys("sagas", "show", saga_id)
        wrong, refusal, _ = await suite.cim_keys("sagas", "signal", saga_id, "approve", "--sha256", "1" * 64)
        status, out, err = await suite.cim_keys("sagas", "signal", saga_id[-8:], "approve", "--comment", "read it")
        _, timeline, _ = await suite.cim_keys("sagas", "show", saga_id)

    assert "for 'approve' of 1, 0 so far" in shown
    assert f"cim-keys sagas signal {saga_id} approve" in shown
    assert (wrong, "message_sha256 must be" in refusal) == (NOT_DONE, True)
    assert (status, err) == (DONE, "")
    assert "signalled" in out
    assert "read it" in out
    assert "approve · ada" in timeline


async def test_a_signal_to_a_saga_that_asked_nobody_is_not_sent(suite):
    status, _, err = await suite.cim_keys("sagas", "signal", str(new_id()), "approve")

    assert status == NOT_DONE
    assert "does not wait for people" in err


async def _asks_for_people(suite, saga_id):
    with contextlib.suppress(NotFoundError):
        return await suite.client.jetstream().get_msg("KEYS_EVENTS", subject=f"keys.events.saga.*.waiting.*.{saga_id}")
