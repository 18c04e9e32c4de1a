"""``python -m deploy.images.lock``: what each image installs, pinned as in requirements.lock, with hashes.

Needs uv. `make lock` calls it, once requirements.lock is written.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("key", "certificate", "yubikey", "saga", "repository", "console")
IMAGES = (*SERVICES, "declare")
"""One for each service, and one that declares the streams (`deploy.declare`, `deploy.upgrade`)."""
OWN = "cim-keys-shared"


def requirements_of(image: str) -> list[str]:
    """What the service, if it is one, and the kernel say that they need; not the kernel, which is copied."""
    members = [ROOT / "shared", *([ROOT / "services" / image] if image in SERVICES else [])]
    projects = [tomllib.loads((member / "pyproject.toml").read_text())["project"] for member in members]
    return sorted({need for project in projects for need in project["dependencies"] if need != OWN})


def main() -> None:
    for image in IMAGES:
        target = Path(__file__).with_name(f"{image}.lock")
        command = ["uv", "pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--unsafe-package", "pyscard"]
        command += ["--constraint", str(ROOT / "requirements.lock"), "--quiet", "-o", str(target)]
        subprocess.run(  # noqa: S603 - words of this file
            command, input="\n".join(requirements_of(image)), text=True, check=True
        )


if __name__ == "__main__":
    main()
