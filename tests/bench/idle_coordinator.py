"""The coordinator with a saga of so many steps without cryptography: each voids the id of a key that never was.

Everything else is the suite's own: the catalog, the engine, the event store, the key service that answers. `asleep`
instead of a number: the saga sleeps until the time that its request has for a name, and is complete.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import datetime

from services.saga.core.definition import Definition, Sleep, Step
from services.saga.core.state import Saga
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from services.saga.service import saga_service
from services.saga.settings import SagaSettings
from shared.contracts.key.commands import RevokeKey
from shared.contracts.key.events import KeyRevoked
from shared.contracts.saga.certificates import PkiBootstrapCompleted, StartPkiBootstrap
from shared.process.host import run

_PEM = "-----BEGIN NOTHING-----"


def _void(number: int) -> Step[StartPkiBootstrap]:
    def void(saga: Saga[StartPkiBootstrap]) -> RevokeKey:
        return RevokeKey(key_id=saga.id_of(f"key-{number}"), reason="bench", void_if_absent=True)

    void.__name__ = f"void_{number}"
    return Step(void, KeyRevoked)


def _completed(saga: Saga[StartPkiBootstrap]) -> PkiBootstrapCompleted:
    return PkiBootstrapCompleted(
        **saga.heading,
        root_certificate_id=saga.saga_id,
        intermediate_certificate_id=saga.saga_id,
        root_certificate_pem=_PEM,
        intermediate_certificate_pem=_PEM,
    )


def idle(steps: int) -> Definition[StartPkiBootstrap]:
    return replace(PKI_BOOTSTRAP, steps=tuple(_void(number) for number in range(steps)), completed=_completed)


def asleep() -> Definition[StartPkiBootstrap]:
    sleep = Sleep("rest", lambda saga: datetime.fromisoformat(saga.request.organization))
    return replace(PKI_BOOTSTRAP, steps=(sleep,), completed=_completed)


def start(_: int, saga: str, organization: str = "Bench") -> tuple[str, bytes, dict[str, str]]:
    """Returns the start command: subject, body, headers."""
    body = {
        "saga_id": saga,
        "organization": organization,
        "root": {"common_name": "R", "algorithm": "ec-p256", "validity_days": 30},
        "intermediate": {"common_name": "I", "algorithm": "ec-p256", "validity_days": 20},
    }
    return "keys.commands.saga.pki-bootstrap.start", json.dumps(body).encode(), {}


if __name__ == "__main__":
    what = sys.argv[1]
    definition = asleep() if what == "asleep" else idle(int(what))
    run("saga", SagaSettings, lambda settings: saga_service(settings, [definition]), os.environ)
