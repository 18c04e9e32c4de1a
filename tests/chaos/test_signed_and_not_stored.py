"""A process that dies between doing and storing, or between storing and saying so: one certificate, one event, and the
bytes that were signed first.

A process is what one could lose: an event store and a keystore with their memories. What is lost of it is kept by the
test, to be compared with what was told in the end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, cycle

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from deploy.settings import SERVICES
from services.certificate.linting.pkilint import Pkilint
from services.certificate.policy.rules import Policy
from services.certificate.x509.domain import certificate_decider
from services.certificate.x509.performer import CertificatePerformer
from services.key.domain import KEY
from services.key.secrets.kek import unlock
from services.key.secrets.keystore import Keystore
from services.key.secrets.source import KeyFile
from services.key.service import key_performer
from shared.contracts.key.value_types import Algorithm
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue, read_until_end
from shared.nats.streams import declare, declare_consumer
from shared.process.runtime import CommandService, store_of
from shared.store.replies import Replies
from tests.chaos.audit import audit, every_command_has_one_answer, nothing_was_done_twice
from tests.chaos.test_kill_nine import kill_at_random
from tests.support.in_memory_ca import private_key, public_pem
from tests.support.processes import pids_of
from tests.support.suite import StoredEvent, suite_up

ISSUANCES = 50  # by each of four authorities: 200
BEFORE, AFTER = "before it is stored", "after it is stored"
DECIDERS = {"key": KEY, "certificate": certificate_decider(Policy(ml_dsa=True))}


class _Dead(Exception):
    """The process ends here."""


@dataclass
class Dying:
    """The event store of a process that ends at its first append, just before or just after that is stored."""

    store: object
    moment: str
    lost: list = field(default_factory=list)

    async def append(self, standing, event, lineage, source):
        if self.moment == AFTER:
            await self.store.append(standing, event, lineage, source)
        self.lost.append(event)
        raise _Dead

    def __getattr__(self, name):
        return getattr(self.store, name)


@dataclass
class Services:
    """The key and the certificate service, each a row of processes: who dies is followed by one that knows nothing."""

    client: object
    consumers: dict
    pkilint: Pkilint
    moments: object = field(default_factory=lambda: cycle((BEFORE, AFTER)))
    deaths: Counter = field(default_factory=Counter)
    lost: dict = field(default_factory=dict)

    async def process(self, service, mortal):
        js = self.client.jetstream()
        store = store_of(js, service, DECIDERS[service])
        if service == "key":
            bucket = KeyValue(js, "KEYS_SECRETS")
            keystore = Keystore(bucket, await unlock(bucket, KeyFile(bytes(32))), ml_dsa=True)
            perform = key_performer(keystore, store)
        else:

            async def current(certificate_id):
                return (await store.refresh(certificate_id, await store.load(certificate_id))).state

            perform = CertificatePerformer(current, self.pkilint).perform
        store = Dying(store, next(self.moments)) if mortal else store
        return store, CommandService(service, DECIDERS[service], perform, store, Replies(js, service))

    async def ask(self, command, body):
        """Returns the final events of a command whose first process died while handling it."""
        js, service = self.client.jetstream(), command.partition(".")[0]
        await js.publish(f"keys.commands.{command}", json.dumps(body).encode())
        dying, first = await self.process(service, mortal=True)
        [message] = await self.consumers[service].fetch(1, timeout=10)
        with pytest.raises(_Dead):
            await first.handle(message)
        await message.nak()
        self.deaths[dying.moment] += 1

        _, second = await self.process(service, mortal=False)
        [again] = await self.consumers[service].fetch(1, timeout=10)
        assert again.metadata.num_delivered == 2
        await second.handle(again)
        await again.ack_sync()

        [lost] = dying.lost
        stored = await js.get_msg("KEYS_EVENTS", subject=f"keys.events.{service}.*.{lost.identity}")
        told = json.loads(stored.data)
        return told, json.loads(lost.model_dump_json()), dying.moment

    async def key(self, algorithm, **more):
        told, lost, _ = await self.ask("key.generate", {"key_id": str(new_id()), "algorithm": algorithm, **more})
        assert told == lost, "another key was made"
        return told

    async def certificate(self, signing_key_id, **wish):
        """Serial and to-be-signed bytes are drawn before they are stored: who dies before may be followed by one that
        draws others. Only one is ever told, and what is told is what is signed."""
        created, drawn, moment = await self.ask("certificate.create", {"certificate_id": str(new_id()), **wish})
        if moment == AFTER:
            assert created == drawn
        to_sign = {"message": created["tbs"], "purpose": "certificate-signing"}
        to_sign |= {"signature_algorithm": created["signature_algorithm"], "key_id": signing_key_id}
        told, first, _ = await self.ask("key.sign", to_sign)
        assert told["signature"] == first["signature"], "another signature of the same bytes"
        attach = {"certificate_id": created["certificate_id"], "signature": first["signature"]}
        signed, assembled, _ = await self.ask("certificate.sign", attach)
        assert signed == assembled, "another certificate"
        certificate = x509.load_pem_x509_certificate(signed["certificate_pem"].encode())
        assert certificate.tbs_certificate_bytes == base64.b64decode(created["tbs"])
        assert certificate.signature == base64.b64decode(first["signature"])
        return signed

    async def events(self):
        js = self.client.jetstream()
        found = await js.subscribe("keys.events.>", stream="KEYS_EVENTS", ordered_consumer=True)
        return [
            StoredEvent(each.metadata.sequence.stream, each.subject, dict(each.headers), json.loads(each.data))
            async for each in read_until_end(found)
        ]


@pytest.fixture(name="services")
async def _services(client):
    await declare(client)
    consumers = {}
    for name in DECIDERS:
        stream = await declare_consumer(client, name)
        consumers[name] = await client.jetstream().pull_subscribe_bind(name, stream)
    pkilint = Pkilint()
    yield Services(client, consumers, pkilint)
    await pkilint.close()


@pytest.mark.parametrize("algorithm", ["ec-p256", "ed25519", "rsa-2048", "ml-dsa-65"])
async def test_fifty_certificates_whose_every_step_dies_once_are_fifty_certificates(services, algorithm):
    authority = await services.key(algorithm, purpose="certificate-signing")
    about = {"public_key_pem": authority["public_key_pem"], "key_id": authority["key_id"]}
    root = await services.certificate(
        authority["key_id"], profile="root", subject={"common_name": "Root"}, validity_days=3650, **about
    )
    leaf = public_pem(private_key(Algorithm.EC_P256, 1))
    wish = {"profile": "piv-authentication", "public_key_pem": leaf, "validity_days": 90}
    wish |= {"issuer_id": root["certificate_id"]}
    signed = [
        await services.certificate(authority["key_id"], subject={"common_name": f"Alice {number}"}, **wish)
        for number in range(ISSUANCES)
    ]

    events = await services.events()
    nothing_was_done_twice(events)
    every_command_has_one_answer(events)
    kinds = Counter(".".join(event.tokens[2:4]) for event in events)
    each = ISSUANCES + 1
    assert kinds == {"key.generated": 1, "certificate.created": each, "key.signed": each, "certificate.signed": each}
    assert len({each["serial"] for each in [root, *signed]}) == each
    assert services.deaths[BEFORE] + services.deaths[AFTER] == 1 + 3 * each
    key = load_pem_public_key(authority["public_key_pem"].encode())
    assert all(_verifies(key, each["certificate_pem"]) for each in [root, *signed])


def _verifies(key, certificate_pem):
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    how = []
    if certificate.signature_hash_algorithm is not None:
        how = [certificate.signature_algorithm_parameters]
        if hasattr(key, "public_numbers") and hasattr(key.public_numbers(), "e"):
            how.append(certificate.signature_hash_algorithm)
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, *how)
    return True


async def test_two_hundred_issuances_while_custodian_and_issuer_are_killed_are_two_hundred_certificates(tmp_path):
    async with suite_up(tmp_path / "state", []) as suite:
        await suite.bootstrap()
        chance = random.Random(5)  # noqa: S311 - moments, no secrets
        wish = {"profile": "piv-authentication", "algorithm": "ec-p256", "validity_days": 90}
        numbers, sagas = count(), {}

        async def begin():
            for number in (next(numbers) for _ in range(200)):
                about = wish | {"issuer_id": suite.issuer_id, "subject": {"common_name": f"Alice {number}"}}
                sagas[await suite.start_saga("certificate-issuance", **about)] = about
                await asyncio.sleep(chance.uniform(0, 0.05))

        def targets():
            found = pids_of(suite.local.state)
            return {name: found[name] for name in ("key", "certificate") if name in SERVICES and name in found}

        await asyncio.gather(begin(), kill_at_random(random.Random(6), targets, 14, (0.1, 0.6)))  # noqa: S311 - the same
        ends = await asyncio.gather(*(suite.end_of(saga_id, within=90) for saga_id in sagas))

        assert await audit(suite, sagas) == {"completed": 200}
        issuer = x509.load_pem_x509_certificate(suite.chain[1].encode())
        certificates = [x509.load_pem_x509_certificate(end.body["certificate_pem"].encode()) for end in ends]
        for certificate in certificates:
            certificate.verify_directly_issued_by(issuer)
        assert len({certificate.serial_number for certificate in certificates}) == 200
        assert len({end.body["certificate_id"] for end in ends}) == 200
        created = await suite.events("keys.events.certificate.created.*")
        assert len({event.body["serial"] for event in created}) == len(created) == 202
