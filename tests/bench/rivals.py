"""Alternatives to compare issuance with: raw `cryptography`, `cfssl serve` with and without database, `openssl ca`."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.nats import free_port

IN_FLIGHT = 32


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


async def others(number: int) -> list[Row]:
    """One row a system, those that this machine has."""
    rows = []
    if shutil.which("cfssl"):
        rows += [await cfssl(number), *[await cfssl(number // 4, keeping=synced) for synced in ("OFF", "FULL")]]
    if shutil.which("openssl"):
        rows.append(openssl_ca(max(number // 10, 50)))
    return rows


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


async def cfssl(number: int, *, keeping: str | None = None) -> Row:
    """`cfssl serve`, asked over kept connections by a client of the same kind.

    *keeping*: with its certificate database in SQLite, `synchronous` as it says. OFF promises what our log promises by
    default: what is acknowledged survives the process, not the power.
    """
    with tempfile.TemporaryDirectory() as directory:
        here, port = Path(directory), free_port()
        key = ec.generate_private_key(ec.SECP256R1())
        _write_authority(here, key)
        profile = {"usages": ["signing", "client auth"], "expiry": "2160h"}
        (here / "config.json").write_text(json.dumps({"signing": {"default": profile}}))
        request = json.dumps({"certificate_request": _csr()}).encode()
        serve = ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), "-loglevel", "5"]
        files = ["-ca", here / "ca.pem", "-ca-key", here / "ca.key", "-config", here / "config.json"]
        if keeping is not None:
            files += ["-db-config", _certificate_database(here, keeping)]
        kept = f"certificates in SQLite, synchronous {keeping}" if keeping else "keeps nothing"
        what = f"cfssl serve ({_cfssl_version()}), {kept}"
        async with _serving([*serve, *files], port):
            await _post_all(what, port, request, 200)
            row = await _post_all(what, port, request, number)
        if keeping is not None:
            with closing(sqlite3.connect(here / "certificates.db")) as database:
                rows = database.execute("SELECT count(*) FROM certificates").fetchone()[0]
            assert rows == number + 200, f"cfssl kept {rows} of {number + 200}"
        return row


def _certificate_database(here: Path, synchronous: str) -> Path:
    """The table that cfssl's own migrations make."""
    columns = (
        "serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,"
        " reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL,"
        " PRIMARY KEY (serial_number, authority_key_identifier)"
    )
    with closing(sqlite3.connect(here / "certificates.db")) as database:
        database.execute(f"CREATE TABLE certificates ({columns})")
        database.commit()
    configuration = here / "database.json"
    source = f"file:{here}/certificates.db?_synchronous={synchronous}"
    configuration.write_text(json.dumps({"driver": "sqlite3", "data_source": source}))
    return configuration


async def _post_all(what: str, port: int, body: bytes, number: int) -> Row:
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
    return Row(what, number, seconds, p50, p99)


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
