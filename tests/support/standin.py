"""The other end of the wire, for the coordinator's tests: it answers with toys, or not, as a test wants it."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from services.saga.definitions import PKI_BOOTSTRAP
from services.saga.service import saga_service
from shared.contracts.all import MESSAGES
from shared.contracts.certificate_events import CertificateCreated, CertificateRevoked, CertificateSigned
from shared.contracts.command import CommandRejected, RefusalCode
from shared.contracts.key_events import KeyDestroyed, KeyGenerated, KeyRevoked, KeySigned
from shared.contracts.keying import Provenance, SignatureAlgorithm
from shared.envelope import seal_event
from shared.headers import command_lineage
from shared.identity import new_id

_PEM, _SHA = "-----BEGIN TOY-----", "0" * 64
_LIFE = {"not_before": datetime(2026, 1, 1, tzinfo=UTC), "not_after": datetime(2036, 1, 1, tzinfo=UTC)}
AUTHORITY = {"common_name": "Toy CA", "algorithm": "ec-p256", "validity_days": 365}
REQUEST = {"organization": "Acme", "root": AUTHORITY, "intermediate": AUTHORITY}


def _generated(command):
    facts = {"key_id": command.key_id, "algorithm": command.algorithm, "purpose": command.purpose}
    born = {"provenance": Provenance.SOFTWARE, "exportable": False}
    return KeyGenerated(**facts, **born, public_key_pem=_PEM, fingerprint_sha256=_SHA)


def _created(command):
    return CertificateCreated(
        certificate_id=command.certificate_id,
        profile=command.profile,
        tbs=b"tbs",
        tbs_sha256=_SHA,
        signing_key_id=command.signing_key_id,
        signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
        serial="01",
        issuer_id=command.issuer_id,
        issuer_public_key_pem=_PEM,
        key_id=command.key_id,
        **_LIFE,
    )


def _signed(command):
    how = {"signature_algorithm": command.signature_algorithm, "purpose": command.purpose}
    return KeySigned(key_id=command.key_id, signature=b"signature", message_sha256=_SHA, **how)


def _attached(command):
    facts = {"certificate_id": command.certificate_id, "profile": "root", "serial": "01", "issuer_id": None, **_LIFE}
    return CertificateSigned.model_validate(
        {**facts, "certificate_pem": _PEM, "fingerprint_sha256": _SHA}, strict=False
    )


ANSWERS = {
    "GenerateKey": _generated,
    "CreateCertificate": _created,
    "SignWithKey": _signed,
    "SignCertificate": _attached,
    "RevokeCertificate": lambda c: CertificateRevoked(certificate_id=c.certificate_id, reason=c.reason),
    "RevokeKey": lambda c: KeyRevoked(key_id=c.key_id, reason=c.reason),
    "DestroyKey": lambda c: KeyDestroyed(key_id=c.key_id),
}


class StandIn:
    """*silent*: steps it does not answer; *refusing*: how often it refuses one, retryably; *copies*: of an answer."""

    def __init__(self, client):
        self._client = client
        self.js = client.jetstream()
        self.asked = []
        self.silent = set()
        self.refusing = Counter()
        self.copies = 1

    async def listen(self):
        for aggregate in ("key", "certificate"):
            await self._client.subscribe(f"keys.commands.{aggregate}.>", cb=self._hear)

    async def _hear(self, message):
        headers, step = message.headers, message.headers["CIM-Saga-Step"]
        self.asked.append((headers["CIM-Saga-Id"], step, headers["CIM-Command-Id"]))
        if step not in self.silent:
            await self.answer(message)

    async def answer(self, message):
        step, kind = message.headers["CIM-Saga-Step"], message.headers["CIM-Command-Type"]
        lineage = command_lineage(message.headers, new_id())
        if self.refusing[step] > 0:
            self.refusing[step] -= 1
            asked = MESSAGES[kind].model_validate_json(message.data).identity
            about = {"command_id": str(lineage.message_id), "command_type": kind, "aggregate_id": asked}
            event = CommandRejected(**about, code=RefusalCode.UNAVAILABLE, message="not now", retryable=True)
        else:
            event = ANSWERS[kind](MESSAGES[kind].model_validate_json(message.data))
        for copy in range(self.copies):
            await self.tell(event, lineage.cause(f"{kind}/{copy}"))

    async def tell(self, event, lineage):
        sealed = seal_event(event, lineage, "stand-in")
        await self.js.publish(sealed.subject, sealed.payload, headers=sealed.headers)

    def steps_asked(self, saga_id):
        """Each question that was asked, in order, however often it was sent."""
        return [step for (saga, step, _) in dict.fromkeys(self.asked) if saga == saga_id]

    async def begin(self, **changes):
        saga_id = str(new_id())
        start = PKI_BOOTSTRAP.request.model_validate({**REQUEST, "saga_id": saga_id, **changes}, strict=False)
        await self.js.publish("keys.commands.saga.pki-bootstrap.start", start.model_dump_json().encode())
        return saga_id

    async def revision(self, saga_id):
        return (await self.js.get_msg("KV_KEYS_SAGAS", subject=f"$KV.KEYS_SAGAS.*.{saga_id}")).seq

    async def waits_for(self, saga_id):
        """What the saga's entry says it has to have answered next, and how much it has told."""
        entry = await self.js.get_msg("KV_KEYS_SAGAS", subject=f"$KV.KEYS_SAGAS.*.{saga_id}")
        saga = json.loads(entry.data)
        return saga["phase"], saga["question"], saga["sequence"]

    async def everything_is_heard(self):
        """Whether the coordinator has nothing to hear that it has not settled."""
        infos = [
            await self.js.consumer_info(stream, durable)
            for stream, durable in (("KEYS_EVENTS", "saga-events"), ("KEYS_COMMANDS", "saga"))
        ]
        return not any((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)


def impatient(definition, **within):
    """The same definition, some of whose steps (by the name of what they ask) wait less."""
    steps = tuple(
        replace(step, within=within[name]) if (name := step.ask.__name__) in within else step
        for step in definition.steps
    )
    return replace(definition, steps=steps)


@asynccontextmanager
async def coordinating(url, *definitions):
    app = saga_service(url, definitions or (PKI_BOOTSTRAP,))
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
