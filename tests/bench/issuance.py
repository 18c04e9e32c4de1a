"""Certificates a second: certificate service, key service and log, beside the raw cost, cfssl and openssl in one run.

``python -m tests.bench.issuance``. The driver stands in the coordinator's place: it publishes each next command when it
hears the event before. All certificates are P-256, of one issuer, for 90 days; 32 in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.identity import new_id
from shared.wire import adapt
from tests.bench import processor
from tests.support.nats import connected, free_port

IN_FLIGHT = 32
NUMBER = 4000


@dataclass(frozen=True)
class Row:
    what: str
    number: int
    seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    processor_us: dict[str, int] = field(default_factory=dict)
    """Processor time of one certificate, by process."""

    @property
    def rate(self) -> float:
        return self.number / self.seconds

    def told(self) -> dict[str, object]:
        return {
            "what": self.what,
            "number": self.number,
            "rate": round(self.rate),
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "processor_us": self.processor_us,
        }


async def measure(suite_up, scale: float = 1.0) -> list[Row]:
    """*suite_up*: the suite's context manager; returns one row a system, those that this machine has."""
    number = int(NUMBER * scale)
    rows = [raw(number)]
    async with suite_up() as url, connected(url) as client:
        issuance = await Issuance.begin(client)
        await issuance.issue(200)
        rows.append(await issuance.issue(number))
    rows += [await cfssl(number)] if shutil.which("cfssl") else []
    rows += [openssl_ca(max(number // 10, 50))] if shutil.which("openssl") else []
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
        adapt(client)
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


# --- what it is held against ---------------------------------------------------------


def raw(number: int) -> Row:
    """The same certificate by `cryptography`, one core, nothing kept."""
    key, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()).public_key()
    began = time.perf_counter()
    for n in range(number):
        _issued(key, leaf, n).public_bytes(Encoding.PEM)
    return Row("raw cryptography, one core", number, time.perf_counter() - began)


def _issued(key, leaf, number: int) -> x509.Certificate:
    begin = datetime(2026, 11, 21, tzinfo=UTC)
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    usages = dict.fromkeys((*unused, "crl_sign", "encipher_only", "decipher_only"), False)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench")]))
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Person {number}")]))
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
        .public_key(leaf)
        .add_extension(x509.SubjectKeyIdentifier(b"1" * 20), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(b"2" * 20, None, None), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usages), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


async def cfssl(number: int) -> Row:
    """`cfssl serve`, which keeps nothing, asked over kept connections by a client of the same kind."""
    with tempfile.TemporaryDirectory() as directory:
        here, port = Path(directory), free_port()
        key = ec.generate_private_key(ec.SECP256R1())
        _write_authority(here, key)
        profile = {"usages": ["signing", "client auth"], "expiry": "2160h"}
        (here / "config.json").write_text(json.dumps({"signing": {"default": profile}}))
        request = json.dumps({"certificate_request": _csr()}).encode()
        serve = ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), "-loglevel", "5"]
        files = ["-ca", here / "ca.pem", "-ca-key", here / "ca.key", "-config", here / "config.json"]
        async with _serving([*serve, *files], port):
            await _post_all(port, request, 200)
            return await _post_all(port, request, number)


async def _post_all(port: int, body: bytes, number: int) -> Row:
    head = (
        f"POST /api/v1/cfssl/sign HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    request, latencies, numbers = head.encode() + b"\r\n\r\n" + body, [], iter(range(number))

    async def one_after_another() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in numbers:
            began = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length))["success"]
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - began
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return Row(f"cfssl serve ({_cfssl_version()}), keeps nothing", number, seconds, p50, p99)


def openssl_ca(number: int) -> Row:
    """`openssl ca -batch` over all requests in one process, with its text database."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        _write_authority(here, ec.generate_private_key(ec.SECP256R1()))
        requests = []
        for n in range(number):
            requests.append(here / f"{n}.csr")
            requests[-1].write_text(_csr(n))
        (here / "index.txt").touch()
        (here / "serial").write_text("01\n")
        (here / "openssl.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={here}/index.txt\nserial={here}/serial\nnew_certs_dir={here}\n"
            f"certificate={here}/ca.pem\nprivate_key={here}/ca.key\ndefault_md=sha256\ndefault_days=90\npolicy=p\n"
            "[p]\ncommonName=supplied\n"
        )
        command = ["openssl", "ca", "-batch", "-notext", "-config", here / "openssl.cnf", "-infiles", *requests]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return Row("openssl ca -batch, one process for all", number, time.perf_counter() - began)


def _write_authority(here: Path, key) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench")])
    begin = datetime.now(UTC)
    authority = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .issuer_name(name)
        .subject_name(name)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3000))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (here / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (here / "ca.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def _csr(number: int = 0) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Person {number}")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name)
    return csr.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _pem(private) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _cfssl_version() -> str:
    said = subprocess.run(["cfssl", "version"], capture_output=True, text=True, check=False).stdout
    return said.split("Version:")[-1].split()[0]


@asynccontextmanager
async def _serving(command: list, port: int):
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=nowhere, stderr=nowhere)
    try:
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()


def report(rows: list[Row]) -> None:
    for row in rows:
        latency = f" p50 {row.p50_ms:.1f} ms p99 {row.p99_ms:.1f} ms" if row.p50_ms is not None else ""
        print(f"{row.what}: {row.rate:,.0f}/s ({row.number}){latency}")
        if row.processor_us:
            each = ", ".join(f"{name} {spent}" for name, spent in row.processor_us.items() if spent)
            print(f"  processor time of one, µs: {sum(row.processor_us.values())} ({each})")


if __name__ == "__main__":
    from tests.bench.__main__ import suite_up

    report(uvloop.run(measure(lambda: suite_up(None), float(os.environ.get("BENCH_SCALE", "1")))))
