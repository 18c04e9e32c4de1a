"""The service's own way to readers works on a real one, unchanged."""

import sys
from pathlib import Path

from tests.support.readers import ROOT, beside_a_yubikey

CHECKS = Path(__file__).parent / "inside" / "our_reader.py"


def test_our_reader(tmp_path):
    pytest = f"{sys.executable} -m pytest -q -p no:cacheprovider -o addopts= {CHECKS} 2> /dev/null"
    said = beside_a_yubikey(tmp_path, f"cd {ROOT}\n{pytest} || true\n")

    assert "4 passed" in said, said
