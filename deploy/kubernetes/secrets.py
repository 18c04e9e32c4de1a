"""``python -m deploy.kubernetes.secrets USERS TLS KEPT``: prints the Secrets that the manifests refer to.

USERS is the directory of deploy.nats_users, TLS that of deploy.nats_tls. KEPT gets missing passphrases and the CA of
cluster routes: keep it, apart from the backups of NATS. Each run renews the routes' certificate.
"""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.atomic_files import write_atomically
from deploy.kubernetes.routes import write_routes

NAMESPACE = "cim-keys"
ROLES = ("key", "certificate", "saga", "yubikey", "repository", "provisioner")
PASSPHRASES = {"key": "key.passphrase", "yubikey": "yubikey.secret"}

Files = dict[str, Path]


def secret_files(users: Path, tls: Path, kept: Path) -> dict[str, Files]:
    """Returns the files of each Secret: names in the pod and their present paths."""
    return {
        **{f"cim-keys-{role}": _role_files(role, users, tls, kept) for role in ROLES},
        "nats-users": {"users.conf": users / "users.conf"},
        "nats-tls": {name: tls / name for name in ("ca.pem", "server.pem", "server.key")},
        "nats-routes": {name: kept / name for name in ("routes-ca.pem", "routes.pem", "routes.key")},
    }


def _role_files(role: str, users: Path, tls: Path, kept: Path) -> Files:
    """Returns a role's own seed, certificate and key, and the passphrase that it seals with."""
    own = {"nats.nk": users / f"{role}.nk", "nats.pem": tls / f"{role}.pem", "nats.key": tls / f"{role}.key"}
    sealing = {PASSPHRASES[role]: kept / PASSPHRASES[role]} if role in PASSPHRASES else {}
    return {**own, "ca.pem": tls / "ca.pem", **sealing}


def create_missing(kept: Path) -> None:
    """Generates missing passphrases; existing ones are kept, because sealed data needs them."""
    write_routes(kept)
    for name in PASSPHRASES.values():
        if not (kept / name).exists():
            write_atomically(kept / name, secrets.token_urlsafe(48))


def secret_manifests(secret_contents: dict[str, Files]) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "cim-keys"}},
            "data": {file: base64.b64encode(path.read_bytes()).decode() for file, path in files.items()},
        }
        for name, files in secret_contents.items()
    ]


def main() -> None:
    match sys.argv[1:]:
        case [users, tls, kept]:
            pass
        case _:
            sys.exit("usage: python -m deploy.kubernetes.secrets USERS TLS KEPT")
    create_missing(Path(kept))
    try:
        documents = secret_manifests(secret_files(Path(users), Path(tls), Path(kept)))
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing: run python -m deploy.nats_users and python -m deploy.nats_tls first")
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
