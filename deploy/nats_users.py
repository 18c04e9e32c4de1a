"""``python -m deploy.nats_users DIRECTORY``: a user for each role, with a seed of its own and what the catalog allows.

DIRECTORY/users.conf is for nats-server (`include`, or `-c`); DIRECTORY/<role>.nk is the role's secret (NATS_NKEY).
Seeds that are there are kept: run it again after an upgrade, and have the server reload.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nkeys

from shared.messages.catalog import catalog
from shared.messages.permissions import permissions_of, roles


def seed_file(directory: Path, role: str) -> Path:
    return directory / f"{role}.nk"


def write_users(directory: Path) -> Path:
    """Make the seeds that are missing and write the server's part; returns that."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = [_user(directory, role) for role in roles(catalog())]
    path = directory / "users.conf"
    draft = path.with_suffix(".draft")
    draft.write_text("authorization: " + json.dumps({"users": users}, indent=1) + "\n")
    return draft.replace(path)


def _user(directory: Path, role: str) -> dict[str, Any]:
    allowed = permissions_of(role, catalog())
    publish = {"allow": allowed.publish, "deny": allowed.withheld}
    permissions = {"publish": publish, "subscribe": {"allow": allowed.subscribe}}
    return {"nkey": _public_key(seed_file(directory, role)), "permissions": permissions}


def _public_key(path: Path) -> str:
    """Of the seed in the file *path*, which is drawn if there is none. A crash leaves a whole seed or none."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
        draft.rename(path)
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
