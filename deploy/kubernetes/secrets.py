"""``python -m deploy.kubernetes.secrets USERS TLS KEPT``: the Secrets that the manifests name, on standard output.

USERS is what deploy.nats_users wrote, TLS what deploy.nats_tls wrote. In KEPT the passphrases and the routes' authority
are drawn if they are not there: keep it, apart from the backups of NATS. Run again it renews the routes' certificate.
"""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.kubernetes.routes import write_private, write_routes

NAMESPACE = "cim-keys"
ROLES = ("key", "certificate", "saga", "yubikey", "repository", "provisioner")
DRAWN = {"key": "key.passphrase", "yubikey": "yubikey.secret"}

Files = dict[str, Path]


def contents(users: Path, tls: Path, kept: Path) -> dict[str, Files]:
    """What is in each Secret: the name of each file in the pod, and where it is now."""
    return {
        **{f"cim-keys-{role}": _of_role(role, users, tls, kept) for role in ROLES},
        "nats-users": {"users.conf": users / "users.conf"},
        "nats-tls": {name: tls / name for name in ("ca.pem", "server.pem", "server.key")},
        "nats-routes": {name: kept / name for name in ("routes-ca.pem", "routes.pem", "routes.key")},
    }


def _of_role(role: str, users: Path, tls: Path, kept: Path) -> Files:
    """A process has its own seed, certificate and key, and of the secrets only the one that it seals with."""
    own = {"nats.nk": users / f"{role}.nk", "nats.pem": tls / f"{role}.pem", "nats.key": tls / f"{role}.key"}
    sealing = {DRAWN[role]: kept / DRAWN[role]} if role in DRAWN else {}
    return {**own, "ca.pem": tls / "ca.pem", **sealing}


def draw(kept: Path) -> None:
    """What nobody has made yet; what is there is kept, for what it has sealed opens with nothing else."""
    write_routes(kept)
    for name in DRAWN.values():
        if not (kept / name).exists():
            write_private(kept / name, secrets.token_urlsafe(48).encode())


def manifests(told: dict[str, Files]) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "cim-keys"}},
            "data": {file: base64.b64encode(path.read_bytes()).decode() for file, path in files.items()},
        }
        for name, files in told.items()
    ]


def main() -> None:
    match sys.argv[1:]:
        case [users, tls, kept]:
            pass
        case _:
            sys.exit("usage: python -m deploy.kubernetes.secrets USERS TLS KEPT")
    draw(Path(kept))
    try:
        made = manifests(contents(Path(users), Path(tls), Path(kept)))
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing: deploy.nats_users and deploy.nats_tls write what is needed")
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
