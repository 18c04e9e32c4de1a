"""``python -m deploy.nats_tls DIRECTORY ISSUER_ID [HOST ...]``: TLS for NATS with certificates of the suite's own CA.

It generates a key for the server (names: HOST, by default those of the loopback) and for each role. The saga
`certificate-issuance` issues their certificates. DIRECTORY gets <name>.key, <name>.pem with its chain, and the root as
ca.pem. Another run renews all of them. NATS_URL names the suite's server; the command connects as an operator.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
from pathlib import Path

import nats.errors
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from nats.js import JetStreamContext
from nats.js.errors import Error

from deploy.atomic_files import write_atomically
from deploy.saga_client import CommandFailed, last_event, run_saga
from shared.messages.catalog import catalog
from shared.messages.ids import new_id
from shared.messages.permissions import roles
from shared.process.settings import NatsSettings, read_or_exit

SERVER = "server"
LOOPBACK_NAMES = ("localhost", "127.0.0.1")
_VALIDITY_DAYS = 90


async def issue(js: JetStreamContext, directory: Path, issuer_id: str, hosts: tuple[str, ...] = LOOPBACK_NAMES) -> None:
    """Raises CommandFailed; files written by then are complete and match."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - one system call
    *intermediates, root = await _chain(js, issuer_id)
    for name in (SERVER, *roles(catalog())):
        profile, names = ("tls-server", hosts) if name == SERVER else ("tls-client", (f"{name}.cim-keys.internal",))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = await _issue(js, issuer_id, profile, names, _certificate_request(key, names[0]))
        write_atomically(
            directory / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        )
        write_atomically(directory / f"{name}.pem", "".join([certificate, *intermediates]))
    write_atomically(directory / "ca.pem", root)


async def _chain(js: JetStreamContext, certificate_id: str | None) -> list[str]:
    """Returns the certificates of the CA, of its issuer, and so on up to the root."""
    chain: list[str] = []
    while certificate_id is not None:
        event = await last_event(js, f"keys.events.certificate.signed.{certificate_id}")
        event = event or await last_event(js, f"keys.events.certificate.imported.{certificate_id}")
        if event is None:
            raise CommandFailed(f"there is no CA certificate with the id {certificate_id}")
        chain.append(event["certificate_pem"])
        certificate_id = event["issuer_id"] if event["issuer_id"] != certificate_id else None
    return chain


async def _issue(js: JetStreamContext, issuer_id: str, profile: str, names: tuple[str, ...], csr: str) -> str:
    sans = [{"kind": "ip" if _is_address(name) else "dns", "value": name} for name in names]
    request = {"issuer_id": issuer_id, "profile": profile, "subject": {"common_name": names[0]}, "sans": sans}
    try:
        result = await run_saga(
            js, "certificate-issuance", str(new_id()), **request, csr_pem=csr, validity_days=_VALIDITY_DAYS
        )
    except CommandFailed as error:
        raise CommandFailed(f"no {profile} certificate for {names[0]}: {error}") from error
    return str(result["certificate_pem"])


def _certificate_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _main(server: NatsSettings, directory: Path, issuer_id: str, hosts: tuple[str, ...]) -> None:
    client = await server.access.connect(server.url, "operator", allow_reconnect=False)
    try:
        await issue(client.jetstream(), directory, issuer_id, hosts)
    finally:
        await client.close()


def main() -> None:
    match sys.argv[1:]:
        case [directory, issuer_id, *hosts]:
            pass
        case _:
            sys.exit("usage: python -m deploy.nats_tls DIRECTORY ISSUER_ID [HOST ...]")
    server = read_or_exit(NatsSettings, os.environ)
    try:
        asyncio.run(_main(server, Path(directory), issuer_id, tuple(hosts) or LOOPBACK_NAMES))
    except (CommandFailed, nats.errors.Error, Error, OSError, TimeoutError) as error:
        sys.exit(f"certificates are missing: {error or type(error).__name__}; correct this and run it again")


if __name__ == "__main__":
    main()
