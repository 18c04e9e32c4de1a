"""A virtual YubiKey in a reader of this machine's PC/SC stack, for as long as a command or a shell runs.

``python -m deploy.virtual_yubikey [--serial N] [--firmware 5.7.4] [--state DIRECTORY] [command ...]``

All of it lives in mount and network namespaces of its own: pcscd's socket has a fixed place, and vpcd listens on all
addresses. So several can run side by side, and nothing outside sees them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

INSIDE = "CIM_KEYS_VIRTUAL_YUBIKEY"
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
SOCKET = Path("/run/pcscd/pcscd.comm")
PORT = 19579  # below the ports that Linux gives out by itself
PATIENCE = 20.0
PACKAGES = "pcscd vsmartcard-vpcd iproute2 util-linux"


def missing() -> str | None:
    """Why it cannot be done here, in one line; None: it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux, for a network and a /run of its own"
    tools = [tool for tool in ("pcscd", "ip", "unshare", "mount") if shutil.which(tool) is None]
    if not DRIVER.exists():
        tools.append("vpcd")
    return f"{', '.join(tools)} not found: apt-get install {PACKAGES}" if tools else None


def run(device: list[str], command: list[str]) -> int:
    """Run *command* beside the *device*, as `services.yubikey.virtual.reader` is told of it. The exit status is the
    command's.
    """
    if INSIDE not in os.environ:
        outer = ["unshare", "--mount", "--net", "--kill-child", sys.executable, "-m", "deploy.virtual_yubikey"]
        return subprocess.run(
            [*outer, *device, "--", *command], env={**os.environ, INSIDE: "1"}, check=False
        ).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(SOCKET.parent)], check=True)
    with tempfile.TemporaryDirectory() as readers, _started(_pcscd(Path(readers))):
        _wait(SOCKET.exists, "pcscd")
        reader = [sys.executable, "-m", "services.yubikey.virtual.reader", *device, "--port", str(PORT)]
        present = Path(readers) / "present"
        with _started([*reader, "--tell", str(present)]):
            _wait(present.exists, "the reader")
            return subprocess.run(command, check=False).returncode


def _pcscd(readers: Path) -> list[str]:
    """Its command line. ykman knows a YubiKey by its reader's name."""
    configuration = (
        'FRIENDLYNAME "Yubico YubiKey CCID"\n'
        f"DEVICENAME /dev/null:{PORT}\n"  # with a host's name in its place, vpcd would connect and not listen
        f"LIBPATH {DRIVER}\n"
        f"CHANNELID {PORT}\n"
    )
    (readers / "virtual-yubikey").write_text(configuration)
    return ["pcscd", "--foreground", "--error", "--config", str(readers)]


@contextmanager
def _started(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > deadline:
            sys.exit(f"virtual-yubikey: {what} did not start within {PATIENCE:g} s")
        time.sleep(0.01)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virtual-yubikey", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--serial", type=int, default=42_000_001)
    parser.add_argument("--firmware", default="5.7.4", help="of a device that is not made yet")
    parser.add_argument("--state", type=Path, help="the directory that keeps the device; default: a new one each time")
    parser.add_argument("--key-file", type=Path, help="32 bytes that seal what is kept there; default: zeros")
    parser.add_argument("command", nargs="*", help="default: a shell")
    return parser.parse_args()


def main() -> None:
    wanted = _arguments()
    if (problem := missing()) is not None:
        sys.exit(f"virtual-yubikey: {problem}")
    command = wanted.command or [os.environ.get("SHELL", "/bin/sh")]
    if not wanted.command and INSIDE not in os.environ:
        print(f"YubiKey {wanted.serial} ({wanted.firmware}) is plugged in, in this shell: ykman, yubico-piv-tool and")
        print("OpenSC see it (ykman --device SERIAL piv info). Leave the shell to unplug it.")
    with tempfile.TemporaryDirectory() as fresh:
        device = ["--serial", str(wanted.serial), "--firmware", wanted.firmware, "--state", str(wanted.state or fresh)]
        sys.exit(run([*device, *(["--key-file", str(wanted.key_file)] if wanted.key_file else [])], command))


if __name__ == "__main__":
    main()
