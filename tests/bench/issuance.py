"""Certificates a second: certificate service, key service and log, beside the raw cost, cfssl and openssl in one run.

``python -m tests.bench.issuance``. The driver stands in the coordinator's place: it publishes each next command when it
hears the event before. All certificates are P-256, of one issuer, for 90 days; 32 in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.messages.ids import new_id
from shared.nats.client import Client
from tests.bench import processor
from tests.bench.rivals import IN_FLIGHT, Row, others, raw
from tests.bench.suite import suite_up
from tests.support.nats import connected

NUMBER = 4000


async def measure(suite_up, scale: float = 1.0) -> list[Row]:
    """*suite_up*: the suite's context manager; returns one row a system, those that this machine has."""
    number = int(NUMBER * scale)
    rows = [raw(number)]
    async with suite_up() as url, connected(url, client_class=Client) as client:
        issuance = await Issuance.begin(client)
        await issuance.issue(200)
        rows.append(await issuance.issue(number))
    rows += await others(number)
    return rows


class Issuance:
    """create → created → key.sign → signed → sign → signed, each command in answer to the event before it."""

    def __init__(self, client) -> None:
        self._client = client
        self._waiting: dict[str, asyncio.Future[dict]] = {}
        self._issuer: dict[str, str] = {}
        self._leaf_pem = _pem(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    async def begin(cls, client) -> Issuance:
        self = cls(client)
        for pattern in ("certificate.created", "certificate.signed", "key.signed", "key.generated", "command.rejected"):
            await client.subscribe(f"keys.events.{pattern}.*", cb=self._heard, pending_msgs_limit=-1)
        root = await self._authority("root", None, None)
        self._issuer = await self._authority("intermediate", root["certificate_id"], root["key_id"])
        return self

    async def issue(self, number: int) -> Row:
        latencies: list[float] = []
        numbers = iter(range(number))

        async def one_after_another() -> None:
            for n in numbers:
                began = time.perf_counter()
                subject = {"common_name": f"Person {n}"}
                await self._certificate(
                    "piv-authentication", subject, self._leaf_pem, self._issuer["certificate_id"], 90
                )
                latencies.append(time.perf_counter() - began)

        before, began = processor.spent(), time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - began
        latencies.sort()
        p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
        each = {name: round(spent / number * 1e6) for name, spent in processor.since(before).items()}
        return Row("cim-keys, event-sourced (3 commands, 3 events)", number, seconds, p50, p99, each)

    async def _authority(self, profile: str, issuer_id: str | None, signer: str | None) -> dict[str, str]:
        wish = {"key_id": str(new_id()), "algorithm": "ec-p256", "purpose": "certificate-signing"}
        key = await self._ask("key.generate", wish, "key.generated", wish["key_id"])
        named = {"signing_key_id": signer or key["key_id"], "key_id": key["key_id"]}
        subject = {"common_name": f"Bench {profile}"}
        signed = await self._certificate(profile, subject, key["public_key_pem"], issuer_id, 3000, **named)
        return {"certificate_id": signed["certificate_id"], "key_id": key["key_id"]}

    async def _certificate(self, profile, subject, public_key_pem, issuer_id, days, **named) -> dict:
        certificate_id = str(new_id())
        body = {"certificate_id": certificate_id, "profile": profile, "subject": subject, "validity_days": days}
        body |= {"public_key_pem": public_key_pem, **({"issuer_id": issuer_id} if issuer_id else {}), **named}
        created = await self._ask("certificate.create", body, "certificate.created", certificate_id)
        asked = {"message": created["tbs"], "purpose": "certificate-signing"}
        asked |= {"key_id": created["signing_key_id"], "signature_algorithm": created["signature_algorithm"]}
        signed = await self._ask("key.sign", asked, "key.signed", created["tbs_sha256"])
        attach = {"certificate_id": certificate_id, "signature": signed["signature"]}
        return await self._ask("certificate.sign", attach, "certificate.signed", certificate_id)

    async def _ask(self, command: str, body: dict, answer: str, about: str) -> dict:
        """The event *answer* about *about*: an id, or for a signature the hash of what was signed."""
        future = self._waiting[f"{answer}/{about}"] = asyncio.get_running_loop().create_future()
        await self._client.publish(f"keys.commands.{command}", json.dumps(body).encode())
        return await asyncio.wait_for(future, 60)

    async def _heard(self, message) -> None:
        body, event = json.loads(message.data), message.subject.removeprefix("keys.events.").rpartition(".")[0]
        if event == "command.rejected":
            raise SystemExit(body["message"])
        about = body["message_sha256"] if event == "key.signed" else body.get("certificate_id") or body["key_id"]
        if (future := self._waiting.pop(f"{event}/{about}", None)) is not None:
            future.set_result(body)


def _pem(private) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def report(rows: list[Row]) -> None:
    for row in rows:
        latency = f" p50 {row.p50_ms:.1f} ms p99 {row.p99_ms:.1f} ms" if row.p50_ms is not None else ""
        print(f"{row.what}: {row.rate:,.0f}/s ({row.number}){latency}")
        if row.processor_us:
            each = ", ".join(f"{name} {spent}" for name, spent in row.processor_us.items() if spent)
            print(f"  processor time of one, µs: {sum(row.processor_us.values())} ({each})")


if __name__ == "__main__":
    report(uvloop.run(measure(lambda: suite_up(None), float(os.environ.get("BENCH_SCALE", "1")))))
