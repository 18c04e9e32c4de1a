"""``python -m services.saga [rebuild …]``: the coordinator as a process. The only reader of the environment."""

import os
import sys

import uvloop

from services.saga.definitions import DEFINITIONS
from services.saga.recovery import recover
from services.saga.service import saga_service
from shared.errors import Unusable
from shared.nats.connection import Access
from shared.process.host import UNUSABLE, Service, run


def nats_url() -> str:
    return os.environ.get("NATS_URL", "nats://127.0.0.1:4222")


def build() -> Service:
    return saga_service(nats_url(), access=Access.from_environment(os.environ))


def main() -> None:
    if sys.argv[1:2] != ["rebuild"]:
        run("saga", build, os.environ)
        return
    try:
        access = Access.from_environment(os.environ)
        lines = uvloop.run(recover(nats_url(), DEFINITIONS, sys.argv[2:], access))
        sys.stdout.writelines(f"{line}\n" for line in lines)
    except Unusable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
