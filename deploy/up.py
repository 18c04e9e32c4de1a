"""``make up``: the NATS server and the five services in the foreground, until a signal stops them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from deploy.declare import Replicas
from deploy.nats_creds import CONFIGURATION
from deploy.settings import CHOICES, NATS_PORT, LocalSuite, http_port_beside, is_for_all
from deploy.supervisor import NotStarted, Supervisor
from shared.process.settings import Accepts, NatsUrls, Port, SettingsGroup, Switch, read_or_exit


async def up(suite: LocalSuite) -> int:
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    supervisor = Supervisor(suite)
    running = asyncio.create_task(_run(supervisor, suite))
    stopping = asyncio.create_task(stop_requested.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    except NotStarted as error:
        print(error, file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"the suite did not start within a minute; see the logs in {suite.state / 'logs'}", file=sys.stderr)
        return 1
    finally:
        running.cancel()
        await supervisor.stop()
    return 0


async def _run(supervisor: Supervisor, suite: LocalSuite) -> None:
    await supervisor.start()
    print(f"ready {suite.url}", flush=True)
    await supervisor.watch()


class UpSettings(SettingsGroup):
    """Settings of `make up`, beside those that it passes on to the services."""

    port: Port = Field(NATS_PORT, validation_alias="NATS_PORT", description="the port of its nats-server")
    http_port: Port | None = Field(
        None,
        validation_alias="HTTP_PORT",
        description="the repository's port; unset: as far from 8080 as `NATS_PORT` is from 4222",
    )
    state: Annotated[Path, Accepts("the path of a directory")] = Field(
        Path(".state"), validation_alias="STATE_DIR", description="everything that the suite stores"
    )
    virtual_yubikeys: Annotated[str, Accepts("serial numbers, separated by commas", empty=True)] = Field(
        "42000001", validation_alias="VIRTUAL_YUBIKEYS", description="virtual devices; empty: none"
    )
    secured: Switch = Field(
        default=False,
        validation_alias="NATS_SECURED",
        description="gives each role a seed and no more than its permissions (docs/security.md)",
    )
    operated: Annotated[Path, Accepts("a directory that `python -m deploy.nats_creds` has written")] | None = Field(
        None, validation_alias="NATS_OPERATOR", description="runs the server in operator mode"
    )
    tls: Annotated[Path, Accepts("a directory that `python -m deploy.nats_tls` has written")] | None = Field(
        None, validation_alias="NATS_TLS", description="has server and services use TLS"
    )
    servers: NatsUrls | None = Field(
        None, validation_alias="NATS_URL", description="running servers to use; unset: it starts one"
    )
    replicas: Replicas | None = Field(
        None, validation_alias="STREAM_REPLICAS", description="servers of a cluster that store each stream and bucket"
    )

    @model_validator(mode="after")
    def _has_certificates(self) -> Self:
        if self.tls is not None and not (self.tls / "ca.pem").is_file():
            raise ValueError(f"NATS_TLS: {self.tls / 'ca.pem'} is missing; python -m deploy.nats_tls writes it")
        return self

    @model_validator(mode="after")
    def _has_one_kind_of_users(self) -> Self:
        if self.operated is None:
            return self
        if self.secured:
            raise ValueError("only one of NATS_SECURED and NATS_OPERATOR can be set")
        if not (self.operated / CONFIGURATION).is_file():
            missing = self.operated / CONFIGURATION
            raise ValueError(f"NATS_OPERATOR: {missing} is missing; python -m deploy.nats_creds writes it")
        return self


def main() -> None:
    settings = read_or_exit(UpSettings, os.environ)
    suite = LocalSuite(
        state=settings.state.resolve(),
        port=settings.port,
        http_port=settings.http_port or http_port_beside(settings.port),
        virtual_yubikeys=settings.virtual_yubikeys,
        choices={name: value for name, value in os.environ.items() if name in CHOICES or is_for_all(name)},
        secured=settings.secured,
        servers=settings.servers,
        replicas=settings.replicas,
        tls=settings.tls.resolve() if settings.tls else None,
        operated=settings.operated.resolve() if settings.operated else None,
    )
    sys.exit(asyncio.run(up(suite)))


if __name__ == "__main__":
    main()
