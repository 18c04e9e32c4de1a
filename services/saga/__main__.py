"""``python -m services.saga``: the coordinator as a process. The only reader of the environment."""

import os

from faststream import FastStream

from services.saga.service import saga_service
from shared.host import run


def build() -> FastStream:
    return saga_service(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))


def main() -> None:
    run("saga", build)


if __name__ == "__main__":
    main()
