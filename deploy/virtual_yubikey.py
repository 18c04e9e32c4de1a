"""Virtual YubiKeys in readers of this machine's PC/SC stack, for as long as a command or a shell runs.

``python -m deploy.virtual_yubikey [--serial N]... [--firmware 5.7.4] [--state DIRECTORY] [command ...]``

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
SERIAL = 42_000_001
MOST_READERS = 16
"""That is pcscd's limit."""
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


def run(devices: list[str], number: int, command: list[str]) -> int:
    """Run *command* beside that *number* of *devices*, as `services.virtual_yubikey.reader` is told of them; none: the
    slots are there, and the command puts devices in itself. The exit status is the command's.
    """
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(SOCKET.parent)], check=True)
    with tempfile.TemporaryDirectory() as readers, _started(_pcscd(Path(readers), number)):
        _wait(SOCKET.exists, "pcscd")
        if not devices:
            return subprocess.run(command, check=False).returncode
        reader = [sys.executable, "-m", "services.virtual_yubikey.reader", *devices, "--port", str(PORT)]
        present = Path(readers) / "present"
        with _started([*reader, "--tell", str(present)]):
            _wait(present.exists, "the reader")
            return subprocess.run(command, check=False).returncode


def _pcscd(readers: Path, devices: int) -> list[str]:
    """Its command line. ykman knows a YubiKey by its reader's name; no two may have the same. vpcd keeps two slots
    in one place, however often it is configured: for more than two devices it is loaded under more names.
    """
    configurations, drivers = readers / "configurations", readers / "drivers"
    configurations.mkdir()
    drivers.mkdir()
    for number in range((devices + 1) // 2):
        driver, port = drivers / f"vpcd-{number}.so", PORT + 2 * number
        driver.write_bytes(DRIVER.read_bytes())
        configuration = (
            f'FRIENDLYNAME "Yubico YubiKey CCID{f" {number}" if number else ""}"\n'
            f"DEVICENAME /dev/null:{port}\n"  # with a host's name in its place, vpcd would connect and not listen
            f"LIBPATH {driver}\n"
            f"CHANNELID {port}\n"
        )
        (configurations / str(number)).write_text(configuration)
    return ["pcscd", "--foreground", "--error", "--config", str(configurations)]


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
    parser.add_argument("--serial", type=int, action="append", help=f"one for each device; default: {SERIAL}")
    parser.add_argument("--firmware", default="5.7.4", help="of a device that is not made yet")
    parser.add_argument("--state", type=Path, help="the directory that keeps the devices; default: a new one each time")
    parser.add_argument("--key-file", type=Path, help="32 bytes that seal what is kept there; default: zeros")
    parser.add_argument("--empty", action="store_true", help="the readers only: the command puts the devices in")
    parser.add_argument("command", nargs="*", help="default: a shell")
    return parser.parse_args()


def main() -> None:
    wanted = _arguments()
    serials = wanted.serial or [SERIAL]
    if (problem := missing()) is not None:
        sys.exit(f"virtual-yubikey: {problem}")
    if len(set(serials)) < len(serials) or len(serials) > MOST_READERS:
        sys.exit(f"virtual-yubikey: at most {MOST_READERS} devices, each with another serial number")
    if INSIDE not in os.environ:
        outer = ["unshare", "--mount", "--net", "--kill-child", sys.executable, "-m", "deploy.virtual_yubikey"]
        sys.exit(subprocess.run([*outer, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, check=False).returncode)
    if not wanted.command:
        print(f"In this shell YubiKeys ({', '.join(map(str, serials))}) are plugged in: ykman, yubico-piv-tool, OpenSC")
        print("see them (ykman --device SERIAL piv info). Leave the shell to unplug them.")
    with tempfile.TemporaryDirectory() as fresh:
        devices = [part for serial in serials for part in ("--serial", str(serial))]
        devices += ["--firmware", wanted.firmware, "--state", str(wanted.state or fresh)]
        devices += ["--key-file", str(wanted.key_file)] if wanted.key_file else []
        command = wanted.command or [os.environ.get("SHELL", "/bin/sh")]
        sys.exit(run([] if wanted.empty else devices, len(serials), command))


if __name__ == "__main__":
    main()
