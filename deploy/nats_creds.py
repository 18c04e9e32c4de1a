"""``python -m deploy.nats_creds DIRECTORY [--role NAME]``: operator mode, by the suite's own sagas.

It has an operator, its accounts and a user for each role made, and leaves DIRECTORY/<role>.creds (NATS_CREDS), for
their owner only, and DIRECTORY/nats.conf for nats-server. What stands is left as it is: run it again when it broke off,
or when a file is lost. With --role that role has another user, and its earlier one is revoked: have the server reload
(SIGHUP). NATS_URL says where the suite is; it comes as an operator.
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

from deploy.atomic_files import PUBLIC, write_whole
from deploy.nats_identities import ACCOUNT, OPERATOR, Identities, User
from deploy.saga_client import NotCompleted
from shared.errors import Unusable
from shared.messages.catalog import catalog
from shared.messages.permissions import roles
from shared.process.settings import NatsSettings, read_or_exit

CONFIGURATION = "nats.conf"
_LONGEST_LINE = 65_536
"""A user's JWT with its permissions comes in one."""


def creds_file(directory: Path, role: str) -> Path:
    return directory / f"{role}.creds"


async def make(js: JetStreamContext, directory: Path, renewed: str | None = None) -> None:
    """Make what is missing, for *renewed* another; says what was made and what stood. Raises NotCompleted, Unusable."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - it does not last
    identities = await Identities.of_the_suite(js)
    _require_own(directory, identities)
    print(f"operator {OPERATOR}, account {ACCOUNT}: {'stand' if identities.operator.stood else 'made'}")
    for role in [renewed] if renewed else roles(catalog()):
        print(f"{role}: {await _provide(identities, directory, role, another=role == renewed)}")
    if await _configure(identities, directory):
        print(f"{CONFIGURATION}: written; a server that runs with it must reload it (SIGHUP)")
    else:
        print(f"{CONFIGURATION}: stands")


async def _provide(identities: Identities, directory: Path, role: str, *, another: bool) -> str:
    """The role's file is there before its earlier user is revoked: a crash in between leaves both good."""
    users = await identities.standing(role)
    made = role in identities.just_made
    if another or not users:
        users.append(await identities.issue(role))
        made = True
    *earlier, user = users
    told = ["made" if made else "stands"]
    if not _holds(creds_file(directory, role), user):
        write_whole(creds_file(directory, role), _credentials(user, await identities.seed_of(user)))
        told += [] if made else ["its file was written again"]
    for each in earlier:
        await identities.revoke(each)
        told.append("its earlier user is revoked")
    if not user.allows_what_the_catalog_says:
        told.append(f"the catalog allows it other things since: renew it (--role {role})")
    return "; ".join(told)


def _holds(path: Path, user: User) -> bool:
    return path.exists() and user.jwt in path.read_text()


def _credentials(user: User, seed: str) -> str:
    """As nats-server's tools write it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{user.jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


async def _configure(identities: Identities, directory: Path) -> bool:
    """Whether the server's configuration is another than it was."""
    made = identities.operator.made
    text = (
        f"operator: {made['operator_jwt']}\n"
        f"system_account: {made['system_account_nkey']}\n"
        f"max_control_line: {_LONGEST_LINE}\n"
        "resolver: MEMORY\n"
        f"resolver_preload: {json.dumps(await identities.accounts(), indent=1)}\n"
    )
    path = directory / CONFIGURATION
    if path.exists() and path.read_text() == text:
        return False
    write_whole(path, text, PUBLIC)
    return True


def _require_own(directory: Path, identities: Identities) -> None:
    path = directory / CONFIGURATION
    if path.exists() and identities.operator.made["operator_jwt"] not in path.read_text():
        raise Unusable(f"{path} is another operator's, not this suite's: choose another directory")


async def _main(server: NatsSettings, directory: Path, renewed: str | None) -> None:
    client = await server.access.connect(server.url, "operator", allow_reconnect=False)
    try:
        await make(client.jetstream(), directory, renewed)
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
    except (NotCompleted, Unusable, nats.errors.Error, Error, OSError, TimeoutError) as error:
        sys.exit(f"not all of it was made: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
