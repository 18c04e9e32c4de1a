"""``python -m deploy.nats_creds DIRECTORY [--role NAME]``: operator mode, by the suite's own sagas.

It creates an operator, its accounts and one user a role. It writes DIRECTORY/<role>.creds (NATS_CREDS), readable by the
owner only, and DIRECTORY/nats.conf for nats-server. It is idempotent: run it again after a failure, or if a file is
lost. --role issues a new user to that role and revokes the earlier one; then nats-server must reload (SIGHUP).
NATS_URL names the suite's server; the command connects as an operator.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import Error

from deploy.atomic_files import PUBLIC, write_atomically
from deploy.nats_identities import ACCOUNT, OPERATOR, Identities, User
from deploy.saga_client import CommandFailed
from shared.errors import Unusable
from shared.messages.catalog import catalog
from shared.messages.permissions import roles
from shared.process.settings import NatsSettings, read_or_exit

CONFIGURATION = "nats.conf"
_MAX_CONTROL_LINE_BYTES = 65_536
"""CONNECT carries a user's JWT with all its permissions in one control line."""


def creds_file(directory: Path, role: str) -> Path:
    return directory / f"{role}.creds"


async def write_credentials(js: JetStreamContext, directory: Path, renewed: str | None = None) -> None:
    """Creates what is missing, and another user for the role *renewed*. Raises CommandFailed, Unusable."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - one system call
    identities = await Identities.load_or_create(js)
    _require_own_directory(directory, identities)
    print(f"operator {OPERATOR}, account {ACCOUNT}: {'created' if identities.operator.is_new else 'unchanged'}")
    for role in [renewed] if renewed else roles(catalog()):
        print(f"{role}: {await _update_role(identities, directory, role, renew=role == renewed)}")
    if await _write_configuration(identities, directory):
        print(f"{CONFIGURATION}: written; a server that uses it must reload it (SIGHUP)")
    else:
        print(f"{CONFIGURATION}: unchanged")


async def _update_role(identities: Identities, directory: Path, role: str, *, renew: bool) -> str:
    """Returns a report of the changes.

    The new credentials are written before the earlier user is revoked: after a crash in between, both are valid.
    """
    users = await identities.valid_users(role)
    is_new = role in identities.new_roles
    if renew or not users:
        users.append(await identities.issue(role))
        is_new = True
    *earlier, user = users
    report = ["created" if is_new else "unchanged"]
    if not _is_current(creds_file(directory, role), user):
        write_atomically(creds_file(directory, role), _credentials(user, await identities.seed_of(user)))
        report += [] if is_new else ["file rewritten"]
    for each in earlier:
        await identities.revoke(each)
        report.append("earlier user revoked")
    if not user.has_catalog_permissions:
        report.append(f"its permissions differ from the catalog: renew it (--role {role})")
    return "; ".join(report)


def _is_current(path: Path, user: User) -> bool:
    return path.exists() and user.jwt in path.read_text()


def _credentials(user: User, seed: str) -> str:
    """Returns a credentials file in the format of nsc."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{user.jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


async def _write_configuration(identities: Identities, directory: Path) -> bool:
    """Writes nats.conf if it differs; returns true if it did."""
    created = identities.operator.created
    text = (
        f"operator: {created['operator_jwt']}\n"
        f"system_account: {created['system_account_nkey']}\n"
        f"max_control_line: {_MAX_CONTROL_LINE_BYTES}\n"
        "resolver: MEMORY\n"
        f"resolver_preload: {json.dumps(await identities.account_jwts(), indent=1)}\n"
    )
    path = directory / CONFIGURATION
    if path.exists() and path.read_text() == text:
        return False
    write_atomically(path, text, PUBLIC)
    return True


def _require_own_directory(directory: Path, identities: Identities) -> None:
    path = directory / CONFIGURATION
    if path.exists() and identities.operator.created["operator_jwt"] not in path.read_text():
        raise Unusable(f"{path} belongs to another operator, not to this suite: choose another directory")


async def _main(server: NatsSettings, directory: Path, renewed: str | None) -> None:
    client = await server.access.connect(server.url, "operator", allow_reconnect=False)
    try:
        await write_credentials(client.jetstream(), directory, renewed)
    finally:
        await client.close()


def main() -> None:
    match sys.argv[1:]:
        case [directory]:
            renewed = None
        case [directory, "--role", renewed] if renewed in roles(catalog()):
            pass
        case _:
            sys.exit(f"usage: python -m deploy.nats_creds DIRECTORY [--role {'|'.join(roles(catalog()))}]")
    server = read_or_exit(NatsSettings, os.environ)
    try:
        asyncio.run(_main(server, Path(directory), renewed))
    except (CommandFailed, Unusable, nats.errors.Error, Error, OSError, TimeoutError) as error:
        sys.exit(f"credentials are missing: {error or type(error).__name__}; correct this and run it again")


if __name__ == "__main__":
    main()
