"""``python -m deploy.nats_tls DIRECTORY ISSUER_ID [HOST ...]``: TLS for NATS from the suite's own authority.

For the server (for HOST, by default this machine's own names) and for each role a key that is drawn here and a
certificate that the saga `certificate-issuance` makes, in DIRECTORY: <name>.key, <name>.pem with its chain, and ca.pem,
the root. Run again it renews all of them. NATS_URL says where the suite is; it comes as an operator.
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

from deploy.atomic_files import write_whole
from deploy.saga_client import NotCompleted, completed, last
from shared.messages.catalog import catalog
from shared.messages.ids import new_id
from shared.messages.permissions import roles
from shared.process.settings import NatsSettings, read_or_exit

SERVER = "server"
HERE = ("localhost", "127.0.0.1")
_DAYS = 90


async def issue(js: JetStreamContext, directory: Path, issuer_id: str, hosts: tuple[str, ...] = HERE) -> None:
    """Raises NotCompleted; what was written by then is whole."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - it does not last
    *intermediates, root = await _chain(js, issuer_id)
    for name in (SERVER, *roles(catalog())):
        profile, names = ("tls-server", hosts) if name == SERVER else ("tls-client", (f"{name}.cim-keys.internal",))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = await _issued(js, issuer_id, profile, names, _request(key, names[0]))
        write_whole(
            directory / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        )
        write_whole(directory / f"{name}.pem", "".join([certificate, *intermediates]))
    write_whole(directory / "ca.pem", root)


async def _chain(js: JetStreamContext, certificate_id: str | None) -> list[str]:
    """The authority's certificate, its issuer's, and so on up to the root."""
    chain: list[str] = []
    while certificate_id is not None:
        about = await last(js, f"keys.events.certificate.signed.{certificate_id}")
        about = about or await last(js, f"keys.events.certificate.imported.{certificate_id}")
        if about is None:
            raise NotCompleted(f"the log has no authority {certificate_id}")
        chain.append(about["certificate_pem"])
        certificate_id = about["issuer_id"] if about["issuer_id"] != certificate_id else None
    return chain


async def _issued(js: JetStreamContext, issuer_id: str, profile: str, names: tuple[str, ...], csr: str) -> str:
    sans = [{"kind": "ip" if _is_address(name) else "dns", "value": name} for name in names]
    wanted = {"issuer_id": issuer_id, "profile": profile, "subject": {"common_name": names[0]}, "sans": sans}
    try:
        told = await completed(js, "certificate-issuance", str(new_id()), **wanted, csr_pem=csr, validity_days=_DAYS)
    except NotCompleted as error:
        raise NotCompleted(f"no {profile} certificate for {names[0]}: {error}") from error
    return str(told["certificate_pem"])


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
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
        asyncio.run(_main(server, Path(directory), issuer_id, tuple(hosts) or HERE))
    except (NotCompleted, nats.errors.Error, Error, OSError, TimeoutError) as error:
        sys.exit(f"not all of it was issued: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
