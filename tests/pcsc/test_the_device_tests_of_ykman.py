"""yubikey-manager's own device tests for PIV, on the virtual device in a PC/SC reader. This repository has no copy."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.virtual_readers import SERIAL, beside_a_yubikey

# Tests of other hardware or firmware, as the suite itself marks them.
NOT_OURS = (
    "YubiKey Bio",
    "PIN complexity enabled",
    "YK4 FIPS",
    "Not ROCA affected",
    r"Version [<>] \(\d, \d, \d\)",
    r"requires YubiKey 5\.7 or later",
)
FIRMWARE = {"5.7.4": 164, "5.4.3": 145}
"""And how many of its tests apply; more is as good, fewer would say that something is passed over."""


@pytest.fixture(name="sources", scope="module")
def _sources(tmp_path_factory):
    """The source distribution of the installed version, and makefun, which its tests need."""
    directory = tmp_path_factory.mktemp("yubikey-manager")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wanted = f"yubikey-manager=={version('yubikey-manager')}"
    subprocess.run([*pip, "download", "--no-deps", "--no-binary=:all:", "-d", directory, wanted], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", directory / "more", "makefun>=1.9.5,<2"], check=True)
    (archive,) = directory.glob("yubikey_manager-*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", directory, "--strip-components=1"], check=True)
    return Path(directory)


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_all_that_apply_pass(sources, tmp_path, firmware):
    tests = "tests/device/test_piv.py tests/device/cli/piv tests/device/test_ccid.py"
    said = beside_a_yubikey(
        tmp_path,
        f"""
        cd {sources}
        export PYTHONPATH={sources}/more
        pytest="python -m pytest -q -rs -p no:cacheprovider -o addopts= -c /dev/null --rootdir ."
        $pytest --device {SERIAL} {tests} 2> /dev/null || true
        """,
        firmware,
    )

    reasons = re.findall(r"^SKIPPED \[\d+\] \S+: (.+)$", said, re.MULTILINE)
    strange = [reason for reason in reasons if not any(re.search(known, reason) for known in NOT_OURS)]
    outcome = dict(reversed(pair.split()) for pair in re.findall(r"\d+ (?:passed|failed|error|errors)", said))
    assert not strange
    assert outcome.keys() == {"passed"}, said[-4000:]
    assert int(outcome["passed"]) >= FIRMWARE[firmware]
