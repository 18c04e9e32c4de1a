"""``python -m services.repository``: the repository as a process. The only reader of the environment."""

import os

from services.repository.service import Repository, Settings
from shared.errors import Unusable
from shared.nats.connection import Access
from shared.process.host import run

_PORTS = range(1, 65_536)


def build() -> Repository:
    port = os.environ.get("HTTP_PORT") or "8080"
    if not port.isdecimal() or int(port) not in _PORTS:
        raise Unusable(f"HTTP_PORT must be a port number, not {port!r}")
    return Repository(
        Settings(
            nats_url=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
            host=os.environ.get("HTTP_HOST") or "127.0.0.1",
            port=int(port),
            access=Access.from_environment(os.environ),
        )
    )


def main() -> None:
    run("repository", build, os.environ)


if __name__ == "__main__":
    main()
