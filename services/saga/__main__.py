"""``python -m services.saga [rebuild …]``: the saga coordinator as a process, or its recovery from the log."""

import os
import sys

import uvloop

from services.saga.definitions import DEFINITIONS
from services.saga.recovery import recover
from services.saga.service import saga_service
from services.saga.settings import SagaSettings
from shared.errors import Unusable
from shared.process.host import UNUSABLE, run
from shared.process.settings import read_or_exit


def main() -> None:
    if sys.argv[1:2] != ["rebuild"]:
        run("saga", SagaSettings, saga_service, os.environ)
        return
    nats = read_or_exit(SagaSettings, os.environ).nats
    try:
        lines = uvloop.run(recover(nats.url, DEFINITIONS, sys.argv[2:], nats.access))
        sys.stdout.writelines(f"{line}\n" for line in lines)
    except Unusable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
