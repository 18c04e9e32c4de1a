"""Virtual YubiKeys in PC/SC readers of this machine, while a command or a shell runs.

``python -m deploy.virtual_yubikey [--serial N]... [--firmware 5.7.4] [--state DIRECTORY] [command ...]``

pcscd's socket has a fixed path, and vpcd listens on all addresses. Both therefore run in mount and network namespaces
of their own: several instances can run side by side, invisible to other processes.
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
MAX_READERS = 16
"""Limit of pcscd."""
PORT = 19579  # below the ephemeral ports of Linux
START_TIMEOUT_S = 20.0
PACKAGES = "pcscd vsmartcard-vpcd iproute2 util-linux"


def missing() -> str | None:
    """The missing requirements, in one line; None: this machine meets them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux, for network and mount namespaces"
    tools = [tool for tool in ("pcscd", "ip", "unshare", "mount") if shutil.which(tool) is None]
    if not DRIVER.exists():
        tools.append("vpcd")
    return f"{', '.join(tools)} not found: apt-get install {PACKAGES}" if tools else None


def run(devices: list[str], number: int, command: list[str]) -> int:
    """Runs *command* beside *number* virtual devices, and returns its exit status.

    *devices*: options for `services.virtual_yubikey.reader`; empty: the command inserts devices itself.
    """
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(SOCKET.parent)], check=True)
    with tempfile.TemporaryDirectory() as readers, _started(_pcscd_command(Path(readers), number)):
        _wait(SOCKET.exists, "pcscd")
        if not devices:
            return subprocess.run(command, check=False).returncode
        reader = [sys.executable, "-m", "services.virtual_yubikey.reader", *devices, "--port", str(PORT)]
        present = Path(readers) / "present"
        with _started([*reader, "--tell", str(present)]):
            _wait(present.exists, "the reader")
            return subprocess.run(command, check=False).returncode


def _pcscd_command(readers: Path, devices: int) -> list[str]:
    """Configures pcscd, and returns its command line.

    ykman recognises a YubiKey by its reader's name, which must be unique. vpcd keeps two slots in static variables, so
    for more than two devices it is loaded under several file names.
    """
    configurations, drivers = readers / "configurations", readers / "drivers"
    configurations.mkdir()
    drivers.mkdir()
    for number in range((devices + 1) // 2):
        driver, port = drivers / f"vpcd-{number}.so", PORT + 2 * number
        driver.write_bytes(DRIVER.read_bytes())
        configuration = (
            f'FRIENDLYNAME "Yubico YubiKey CCID{f" {number}" if number else ""}"\n'
            f"DEVICENAME /dev/null:{port}\n"  # given a host name, vpcd would connect instead of listening
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


def _wait(is_ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if time.monotonic() > deadline:
            sys.exit(f"virtual-yubikey: {what} did not start within {START_TIMEOUT_S:g} s")
        time.sleep(0.01)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virtual-yubikey", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--serial", type=int, action="append", help=f"serial number of a device; may be repeated; default: {SERIAL}"
    )
    parser.add_argument("--firmware", default="5.7.4", help="version of a device that does not exist yet")
    parser.add_argument("--state", type=Path, help="directory of the devices; default: a new one each time")
    parser.add_argument("--key-file", type=Path, help="file with the 32-byte sealing key; default: zeros")
    parser.add_argument("--empty", action="store_true", help="only readers: the command inserts the devices")
    parser.add_argument("command", nargs="*", help="default: a shell")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    serials = arguments.serial or [SERIAL]
    if (problem := missing()) is not None:
        sys.exit(f"virtual-yubikey: {problem}")
    if len(set(serials)) < len(serials) or len(serials) > MAX_READERS:
        sys.exit(f"virtual-yubikey: at most {MAX_READERS} devices, with distinct serial numbers")
    if INSIDE not in os.environ:
        outer = ["unshare", "--mount", "--net", "--kill-child", sys.executable, "-m", "deploy.virtual_yubikey"]
        sys.exit(subprocess.run([*outer, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, check=False).returncode)
    if not arguments.command:
        print(f"In this shell, YubiKeys ({', '.join(map(str, serials))}) are plugged in for ykman and other tools")
        print("(try: ykman --device SERIAL piv info). Exit the shell to unplug them.")
    with tempfile.TemporaryDirectory() as new_state:
        devices = [part for serial in serials for part in ("--serial", str(serial))]
        devices += ["--firmware", arguments.firmware, "--state", str(arguments.state or new_state)]
        devices += ["--key-file", str(arguments.key_file)] if arguments.key_file else []
        command = arguments.command or [os.environ.get("SHELL", "/bin/sh")]
        sys.exit(run([] if arguments.empty else devices, len(serials), command))


if __name__ == "__main__":
    main()
