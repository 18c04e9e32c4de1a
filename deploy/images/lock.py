"""``python -m deploy.images.lock``: what each service's image installs, pinned as in requirements.lock, with hashes.

Needs uv. `make lock` calls it, once requirements.lock is written.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("key", "certificate", "yubikey", "saga", "repository", "console")
OWN = "cim-keys-shared"


def requirements_of(service: str) -> list[str]:
    """What the service and the kernel say that they need; not the kernel, which is copied."""
    members = (ROOT / "shared", ROOT / "services" / service)
    projects = [tomllib.loads((member / "pyproject.toml").read_text())["project"] for member in members]
    return sorted({need for project in projects for need in project["dependencies"] if need != OWN})


def main() -> None:
    for service in SERVICES:
        target = Path(__file__).with_name(f"{service}.lock")
        command = ["uv", "pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--unsafe-package", "pyscard"]
        command += ["--constraint", str(ROOT / "requirements.lock"), "--quiet", "-o", str(target)]
        subprocess.run(  # noqa: S603 - words of this file
            command, input="\n".join(requirements_of(service)), text=True, check=True
        )


if __name__ == "__main__":
    main()
