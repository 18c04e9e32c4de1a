"""``python -m services.key``: the only reader of the key service's environment."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from services.key.secrets.source import Source
from services.key.service import KeySettings, key_service
from shared.nats.connection import Access
from shared.process.host import Service, run
from shared.process.settings import switch

_SECRET, _PREVIOUS = "KEY_", "KEY_PREVIOUS_"


def settings_from(environment: MutableMapping[str, str]) -> KeySettings:
    """What *environment* says; secrets are taken out of it, so that no child is given them (docs/adr/0010)."""
    secret, previous = _source(environment, _SECRET), _source(environment, _PREVIOUS)
    nats_url = environment.get("NATS_URL") or "nats://127.0.0.1:4222"
    ml_dsa = switch(environment, "ENABLE_ML_DSA")
    former, access = None if previous == Source(prefix=_PREVIOUS) else previous, Access.from_environment(environment)
    return KeySettings(nats_url, secret, former, ml_dsa, access)


def _source(environment: MutableMapping[str, str], prefix: str) -> Source:
    passphrase_file, kek_file, passphrase, kek = (
        environment.pop(f"{prefix}{name}", None) or None
        for name in ("PASSPHRASE_FILE", "KEK_FILE", "PASSPHRASE", "KEK")
    )
    return Source(
        Path(passphrase_file) if passphrase_file else None,
        Path(kek_file) if kek_file else None,
        passphrase,
        kek,
        prefix,
    )


def build() -> Service:
    return key_service(settings_from(os.environ))


def main() -> None:
    run("key", build, os.environ)


if __name__ == "__main__":
    main()
