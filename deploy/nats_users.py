"""``python -m deploy.nats_users DIRECTORY``: one user a role, with a seed and the permissions of the catalog.

nats-server includes DIRECTORY/users.conf; DIRECTORY/<role>.nk is the role's seed (NATS_NKEY). Existing seeds are kept:
run it again after an upgrade, and have the server reload its configuration.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nkeys

from deploy.atomic_files import PUBLIC, write_atomically
from shared.messages.catalog import catalog
from shared.messages.permissions import permissions_of, roles


def seed_file(directory: Path, role: str) -> Path:
    return directory / f"{role}.nk"


def write_users(directory: Path) -> Path:
    """Generates missing seeds, writes users.conf and returns its path."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = [_user(directory, role) for role in roles(catalog())]
    path = directory / "users.conf"
    write_atomically(path, "authorization: " + json.dumps({"users": users}, indent=1) + "\n", PUBLIC)
    return path


def _user(directory: Path, role: str) -> dict[str, Any]:
    allowed = permissions_of(role, catalog())
    publish = {"allow": allowed.publish, "deny": allowed.withheld}
    permissions = {"publish": publish, "subscribe": {"allow": allowed.subscribe}}
    return {"nkey": _public_key(seed_file(directory, role)), "permissions": permissions}


def _public_key(path: Path) -> str:
    """Returns the public key of the seed in *path*, after generating a missing seed."""
    if not path.exists():
        write_atomically(path, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    public: bytes = nkeys.from_seed(bytearray(path.read_bytes().strip())).public_key
    return public.decode()


def main() -> None:
    match sys.argv[1:]:
        case [directory]:
            print(write_users(Path(directory)))
        case _:
            sys.exit("usage: python -m deploy.nats_users DIRECTORY")


if __name__ == "__main__":
    main()
