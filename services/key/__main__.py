"""``python -m services.key``: the key service as a process."""

import os

from services.key.service import key_service
from services.key.settings import KeySettings
from shared.process.host import run


def main() -> None:
    run("key", KeySettings, key_service, os.environ)


if __name__ == "__main__":
    main()
