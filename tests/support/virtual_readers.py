"""Runs commands beside a virtual YubiKey in a PC/SC reader, and names missing requirements."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from deploy import virtual_yubikey

ROOT = Path(__file__).parents[2]
SERIAL = 42_000_001
OPENSC = next(iter(sorted(Path("/usr/lib").glob("*/opensc-pkcs11.so"))), None)
MANAGEMENT_KEY = bytes(range(1, 9)).hex() * 3
PACKAGES = f"{virtual_yubikey.PACKAGES} yubico-piv-tool opensc libengine-pkcs11-openssl"


def missing() -> str | None:
    """The skipped tests and the reason, in one line; None: nothing is missing."""
    if (problem := virtual_yubikey.missing()) is None:
        tools = [tool for tool in ("yubico-piv-tool", "pkcs11-tool", "openssl") if shutil.which(tool) is None]
        if importlib.util.find_spec("smartcard") is None:
            tools.append("pyscard (make install-pcsc)")
        problem = f"{', '.join(tools)} not found: apt-get install {PACKAGES}" if tools else None
    return f"left out: tests/pcsc, a virtual YubiKey in a real reader: {problem}" if problem else None


def beside_a_yubikey(
    directory: Path, script: str, firmware: str = "5.7.4", kept: tuple[Path, Path] | None = None
) -> str:
    """Returns the output of a bash *script* that runs in *directory* beside a device, with ykman in its PATH.

    *kept*: the directory that keeps the device, and the file with the key that seals it.
    """
    state, key = kept or (directory / "state", None)
    options = ["--serial", str(SERIAL), "--firmware", firmware, "--state", str(state)]
    return beside(directory, script, *options, *(["--key-file", str(key)] if key else []))


def beside(directory: Path, script: str, *devices: str) -> str:
    """Like `beside_a_yubikey`; *devices*: options of `deploy.virtual_yubikey`."""
    (directory / "script").write_text(f"set -e -o pipefail\nexport PATH={Path(sys.executable).parent}:$PATH\n{script}")
    command = [sys.executable, "-m", "deploy.virtual_yubikey", *devices]
    inside = f"cd {directory} && exec bash script"
    command += ["--", "bash", "-c", inside]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout
