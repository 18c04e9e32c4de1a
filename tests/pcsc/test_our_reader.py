"""The service's PC/SC source of devices, with real readers."""

import sys
from pathlib import Path

from tests.support.virtual_readers import ROOT, beside

INSIDE = Path(__file__).parent / "inside"


def passed(directory, checks, *devices):
    """Output of pytest for *checks*, run beside *devices*."""
    pytest = f"{sys.executable} -m pytest -q -p no:cacheprovider -o addopts= {INSIDE / checks} 2> /dev/null"
    return beside(directory, f"cd {ROOT}\n{pytest} || true\n", *devices)


def test_our_reader(tmp_path):
    said = passed(tmp_path, "our_reader.py", "--state", str(tmp_path / "state"))

    assert "4 passed" in said, said


def test_two_readers(tmp_path):
    said = passed(tmp_path, "two_readers.py", "--empty", "--serial", "42000001", "--serial", "42000002")

    assert "7 passed" in said, said
