"""The virtual YubiKeys are a distribution of their own: the service starts without it, unless its settings need it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NOWHERE = "nats://127.0.0.1:1"
WITHOUT = """
import runpy, sys
sys.modules["services.virtual_yubikey"] = None
runpy.run_module("services.yubikey", run_name="__main__")
"""


@pytest.fixture(name="environment")
def _environment(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    own = {"YUBIKEY_SECRET_FILE": str(secret), "STATE_DIR": str(tmp_path / "state"), "NATS_URL": NOWHERE}
    return {"PATH": os.environ["PATH"], **own}


def test_a_service_that_is_to_use_them_without_it_says_so_in_one_sentence_and_exits_with_78(environment):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        cwd=ROOT,
        env={**environment, "VIRTUAL_YUBIKEYS": "42000001"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    assert "VIRTUAL_YUBIKEYS needs the package cim-keys-virtual-yubikey, which is not installed here" in line
    assert "--build-arg VIRTUAL_YUBIKEY=1" in line


def test_the_service_imports_nothing_of_it_otherwise():
    check = "import sys, services.yubikey.__main__; sys.exit('services.virtual_yubikey' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
