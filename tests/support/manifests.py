"""Kubernetes manifests rendered by kustomize, and queries on them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
EVERYTHING = "production with every component"
RENDERED = (*OVERLAYS, EVERYTHING)
WORKLOADS = {"Deployment", "DaemonSet", "StatefulSet", "Job"}
WITHOUT_KUBECTL = "left out: the manifests for Kubernetes: there is no kubectl to render them"

Manifest = dict[str, Any]


def missing() -> str | None:
    """Returns the reason why kubectl cannot render manifests here; None: it can."""
    return None if shutil.which("kubectl") else WITHOUT_KUBECTL


@cache
def rendered(name: str) -> list[Manifest]:
    """Renders an overlay by its name, EVERYTHING, or another directory under deploy/kubernetes."""
    if name == EVERYTHING:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(shutil.copytree(KUBERNETES, Path(directory).resolve() / "kubernetes"))
            kustomization = copy / "overlays" / "production" / "kustomization.yaml"
            kustomization.write_text(
                re.sub(r"^# (components:|- \.\./)", r"\1", kustomization.read_text(), flags=re.MULTILINE)
            )
            return _built(kustomization.parent)
    return _built(KUBERNETES / "overlays" / name if name in OVERLAYS else KUBERNETES / name)


def _built(directory: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in of_kind(manifests, *WORKLOADS)}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Returns the pod template of each workload."""
    return {name: each["spec"]["template"] for name, each in workloads(manifests).items()}


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def ours(pod: Manifest) -> Iterator[Manifest]:
    """Returns the pod's container with an image of the suite, if it has one."""
    return (each for each in pod["spec"]["containers"] if each["name"] == "service")


def says(container: Manifest) -> dict[str, str]:
    """Returns a container's environment; values from the cluster as `from` and the source."""
    return {
        each["name"]: each["value"] if "value" in each else f"from {each['valueFrom']['fieldRef']['fieldPath']}"
        for each in container.get("env", [])
    }
