"""Sagas of every kind, begun by a plain socket, while coordinators, services and the server are killed at random."""

import asyncio
import base64
import random
from uuid import uuid4

from tests.chaos.audit import audit
from tests.chaos.test_kill_nine import BOOTSTRAP, kill_at_random, more_instances
from tests.support.processes import pids_of
from tests.support.socket_client import PlainSocket
from tests.support.suite import suite_up

SERIALS = list(range(42000001, 42000005))
ALICE = {"common_name": "Alice", "email": "alice@acme.example"}
RECIPIENT = base64.b64encode(bytes(range(32))).decode()


class Lives:
    """A random sequence of sagas about people, keys and identities, with their results."""

    def __init__(self, suite):
        self._suite, self._client = suite, PlainSocket(suite.local.port)
        self.sagas = {}

    async def saga(self, saga_type, **body):
        """Begin one, and hear its end; None unless it is complete."""
        saga_id = str(uuid4())
        self.sagas[saga_id] = {"saga_type": saga_type}
        await self._client.publish(f"keys.commands.saga.{saga_type}.start", {**body, "saga_id": saga_id})
        end = await self._suite.end_of(saga_id, within=90)
        return end.body if end.tokens[4] == "completed" else None

    async def of_a_person(self, serial, goes):
        device = {"yubikey_serial": str(serial)}
        person, issued = f"alice-{serial}", {"issuer_id": self._suite.issuer_id, "validity_days": 365}
        wish = {"person_id": person, "subject": ALICE, "label": f"A-{serial}", "role": "person", **device, **issued}
        come = await self.saga("person-onboarding", **wish, purposes=["authentication", "digital-signature"])
        if come is None:
            return
        ids = {"certificate_ids": come["certificate_ids"]}
        if goes:
            await self.saga("person-offboarding", person_id=person, **device, **ids)
        else:
            await self.saga("device-lost", **device, **ids, location="a train")

    async def of_a_key(self, name):
        wish = {"issuer_id": self._suite.issuer_id, "profile": "tls-client", "subject": {"common_name": name}}
        issued = await self.saga("certificate-issuance", **wish, algorithm="ec-p256", validity_days=90)
        if issued is not None:
            ids = [issued["certificate_id"]]
            generated = await self._suite.last_event(f"keys.events.key.generated.{issued['key_id']}")
            purpose = generated.body["purpose"]
            wish = {"key_id": issued["key_id"], "algorithm": "ec-p384", "purpose": purpose, "certificate_ids": ids}
            await self.saga("key-rotation", **wish)

    async def of_an_identity(self, name):
        wish = {"operator": name, "account": "APP", "user": "alice", "recipient_public_key": RECIPIENT}
        await self.saga("nats-provisioning", **wish)

    async def of_an_authority(self):
        await self.saga("pki-bootstrap", **BOOTSTRAP)


async def test_sagas_of_every_kind_end_once_and_rightly_whoever_is_killed(tmp_path):
    async with (
        suite_up(tmp_path / "state", SERIALS) as suite,
        more_instances(suite, ("saga",)) as more_coordinators,
    ):
        await suite.bootstrap()
        lives = Lives(suite)
        await asyncio.gather(
            *(lives.of_a_person(serial, goes=serial % 2 == 0) for serial in SERIALS),
            *(lives.of_a_key(f"service-{number}") for number in range(3)),
            *(lives.of_an_identity(f"OP{number}") for number in range(2)),
            *(lives.of_an_authority() for _ in range(2)),
            kill_at_random(
                random.Random(7),  # noqa: S311 - moments, no secrets
                lambda: {**pids_of(suite.local.state), **more_coordinators()},
                kills=10,
                between=(0.3, 0.9),
            ),
        )
        children = {
            told.body["saga_id"]: {}
            for told in await suite.events("keys.events.saga.certificate-provisioning.started.*")
        }
        ends = await audit(suite, lives.sagas | children)

    print(ends, {wish["saga_type"] for wish in lives.sagas.values()})
    assert set(ends) <= {"completed", "compensated"}
    assert ends["completed"] > len(lives.sagas) / 2
