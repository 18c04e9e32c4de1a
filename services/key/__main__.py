"""``python -m services.key``: the only reader of the key service's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from faststream import FastStream

from services.key.service import KeySettings, key_service
from shared.errors import Unusable
from shared.host import run


def settings_from(environment: Mapping[str, str]) -> KeySettings:
    passphrase_file, kek_file = (environment.get(name) for name in ("KEY_PASSPHRASE_FILE", "KEY_KEK_FILE"))
    if bool(passphrase_file) == bool(kek_file):
        raise Unusable(
            "set exactly one of KEY_PASSPHRASE_FILE and KEY_KEK_FILE, to the path of the file with the secret"
        )
    return KeySettings(
        environment.get("NATS_URL") or "nats://127.0.0.1:4222",
        Path(passphrase_file) if passphrase_file else None,
        Path(kek_file) if kek_file else None,
        ml_dsa=environment.get("ENABLE_ML_DSA") == "1",
    )


def build() -> FastStream:
    return key_service(settings_from(os.environ))


def main() -> None:
    run("key", build)


if __name__ == "__main__":
    main()
