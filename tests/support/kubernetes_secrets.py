"""The suite's Kubernetes Secrets, created by its tools; certificates are substitutes."""

from __future__ import annotations

from pathlib import Path

from deploy.kubernetes.secrets import ROLES, Files, create_missing, secret_files
from deploy.nats_users import write_users


def made_in(directory: Path) -> dict[str, Files]:
    """Returns the files of each Secret. The certificate of the routes substitutes for those of TLS."""
    users, tls, kept = (directory / name for name in ("users", "tls", "kept"))
    write_users(users)
    create_missing(kept)
    tls.mkdir()
    for name in (*ROLES, "server"):
        (tls / f"{name}.pem").write_bytes((kept / "routes.pem").read_bytes())
        (tls / f"{name}.key").write_bytes((kept / "routes.key").read_bytes())
    (tls / "ca.pem").write_bytes((kept / "routes-ca.pem").read_bytes())
    return secret_files(users, tls, kept)
