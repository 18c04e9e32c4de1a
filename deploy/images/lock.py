"""``python -m deploy.images.lock``: locks the requirements of each image, with the versions of requirements.lock.

It needs uv. `make lock` runs it after writing requirements.lock.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("key", "certificate", "yubikey", "saga", "repository", "console")
IMAGES = (*SERVICES, "declare")
"""An image for each service, and one for `deploy.declare` and `deploy.upgrade`."""
OWN_PACKAGE = "cim-keys-shared"


def requirements_of(image: str) -> list[str]:
    """Returns the dependencies of an image's service and of `shared`, without `shared` itself: the image copies it."""
    members = [ROOT / "shared", *([ROOT / "services" / image] if image in SERVICES else [])]
    projects = [tomllib.loads((member / "pyproject.toml").read_text())["project"] for member in members]
    return sorted(
        {requirement for project in projects for requirement in project["dependencies"] if requirement != OWN_PACKAGE}
    )


def main() -> None:
    for image in IMAGES:
        target = Path(__file__).with_name(f"{image}.lock")
        command = ["uv", "pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--unsafe-package", "pyscard"]
        command += ["--constraint", str(ROOT / "requirements.lock"), "--quiet", "-o", str(target)]
        subprocess.run(  # noqa: S603 - constant arguments
            command, input="\n".join(requirements_of(image)), text=True, check=True
        )


if __name__ == "__main__":
    main()
