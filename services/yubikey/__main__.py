"""``python -m services.yubikey``: the YubiKey service as a process."""

import os

from services.yubikey.service import yubikey_service
from services.yubikey.settings import YubikeySettings
from shared.process.host import run


def main() -> None:
    run("yubikey", YubikeySettings, yubikey_service, os.environ)


if __name__ == "__main__":
    main()
