"""``make up``: the server and the five services in the foreground, until somebody stops them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from deploy.declare import replicas_from
from deploy.nats_creds import CONFIGURATION
from deploy.settings import CHOICES, LAST_PORT, NATS_PORT, LocalSuite, http_port_beside, is_for_all
from deploy.supervisor import NotStarted, Supervisor
from shared.errors import Unusable
from shared.process.settings import switch


async def up(suite: LocalSuite) -> int:
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    supervisor = Supervisor(suite)
    running = asyncio.create_task(_run(supervisor, suite))
    stopping = asyncio.create_task(told_to_stop.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    except NotStarted as error:
        print(error, file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"the suite did not come up within a minute; see {suite.state / 'logs'}", file=sys.stderr)
        return 1
    finally:
        running.cancel()
        await supervisor.stop()
    return 0


async def _run(supervisor: Supervisor, suite: LocalSuite) -> None:
    await supervisor.start()
    print(f"ready {suite.url}", flush=True)
    await supervisor.watch()


def _port(setting: str) -> int | None:
    text = os.environ.get(setting)
    if text is None:
        return None
    if not text.isdigit() or not 0 < int(text) <= LAST_PORT:
        sys.exit(f"{setting} must be a port number, not {text!r}")
    return int(text)


def _directory(setting: str) -> Path | None:
    return Path(os.environ[setting]).resolve() if os.environ.get(setting) else None


def _require_usable(operated: Path, *, secured: bool) -> None:
    if secured:
        sys.exit("only one of NATS_SECURED and NATS_OPERATOR can say by what the server knows who comes")
    if not (operated / CONFIGURATION).is_file():
        sys.exit(f"NATS_OPERATOR: {operated / CONFIGURATION} is missing; python -m deploy.nats_creds writes it")


def _switch(setting: str) -> bool:
    try:
        return switch(os.environ, setting)
    except Unusable as error:
        sys.exit(str(error))


def _replicas() -> int | None:
    try:
        return replicas_from(os.environ)
    except Unusable as error:
        sys.exit(str(error))


def main() -> None:
    port = _port("NATS_PORT") or NATS_PORT
    suite = LocalSuite(
        state=Path(os.environ.get("STATE_DIR") or ".state").resolve(),
        port=port,
        http_port=_port("HTTP_PORT") or http_port_beside(port),
        virtual_yubikeys=os.environ.get("VIRTUAL_YUBIKEYS", "42000001"),
        choices={name: value for name, value in os.environ.items() if name in CHOICES or is_for_all(name)},
        secured=_switch("NATS_SECURED"),
        servers=os.environ.get("NATS_URL") or None,
        replicas=_replicas(),
        tls=_directory("NATS_TLS"),
        operated=_directory("NATS_OPERATOR"),
    )
    if suite.operated is not None:
        _require_usable(suite.operated, secured=suite.secured)
    sys.exit(asyncio.run(up(suite)))


if __name__ == "__main__":
    main()
