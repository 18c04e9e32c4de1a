"""Rules of the house that a reader would otherwise have to watch over."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from shared import __version__

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for top in ("shared", "services", "deploy") for path in (ROOT / top).rglob("*.py"))
MAX_LINES = 500
REASONS_FOR_LONG_FILES: dict[str, str] = {}
"""Reasons, by path, for a file of more than `MAX_LINES` lines."""


@pytest.fixture(name="tracked")
def _tracked():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("without git it cannot be told which files are tracked")
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@each_module
def test_a_module_begins_by_saying_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@each_module
def test_only_main_modules_and_the_local_runner_read_the_environment(path):
    if path.name == "__main__.py" or path.is_relative_to(ROOT / "deploy"):
        return
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}

    assert not names & {"environ", "getenv"}


@each_module
def test_names_say_what_a_thing_is(path):
    defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, defined)} | {path.stem}

    assert not [name for name in names if re.search(r"Manager|Helper|Utils?\b|Impl\b|^Base[A-Z]|^utils?$", name)]


@each_module
def test_a_file_of_more_than_500_lines_has_a_reason(path):
    name, lines = str(path.relative_to(ROOT)), len(path.read_text().splitlines())

    assert (lines > MAX_LINES) == (name in REASONS_FOR_LONG_FILES)


def test_the_lock_pins_by_hash_and_names_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^([a-z0-9._-]+)==\S+(?: ;.*)? \\$", lock, re.MULTILINE)

    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock
    assert len(pinned) == len(re.findall(r"^\S", lock, re.MULTILINE))
    assert len(re.split(r"^\S", lock, flags=re.MULTILINE)[1:]) == len(pinned)
    assert all("--hash=sha256:" in block for block in re.split(r"^(?=\S)", lock, flags=re.MULTILINE) if block)
    assert "pyscard" not in pinned  # it needs a compiler: docs/adr/0008


def test_there_is_one_lock_one_for_machines_with_readers_and_one_an_image(tracked):
    locks = [path for path in tracked if re.search(r"(?i)(^|[-_.])lock(\.|$)", Path(path).name)]
    assert [path for path in locks if not path.startswith("deploy/images/")] == [
        "requirements-pcsc.lock",
        "requirements.lock",
    ]


def test_no_tracked_file_names_a_path_of_a_machine(tracked):
    home = re.compile(r"(?<![\w.])/(?:root|home|work)/\w")
    guilty = [
        path for path in tracked if (ROOT / path).is_file() and home.search((ROOT / path).read_text(errors="replace"))
    ]

    assert guilty == []


DISTRIBUTIONS = sorted(
    [ROOT / "pyproject.toml", *ROOT.glob("shared/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
)


@pytest.mark.parametrize("path", DISTRIBUTIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_distribution_has_the_version_and_the_licence_of_the_suite(path):
    project = tomllib.loads(path.read_text())["project"]

    assert (project["version"], project["license"]) == (__version__, "Apache-2.0")


def test_changelog_asyncapi_and_images_in_production_have_the_version_of_the_suite():
    production = (ROOT / "deploy" / "kubernetes" / "overlays" / "production" / "kustomization.yaml").read_text()

    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == __version__
    assert f"\n  version: {__version__}\n" in (ROOT / "docs" / "asyncapi.yaml").read_text()
    assert set(re.findall(r"newTag: (\S+?)}", production)) == {__version__}


@pytest.mark.parametrize("aggregate", ["x509", "crl", "ocsp", "ssh", "nats_jwt", "trust_bundle"])
def test_every_aggregate_of_the_certificate_service_has_the_same_anatomy(aggregate):
    package = ROOT / "services" / "certificate" / aggregate

    assert {"domain", "states", "effects", "performer"} <= {path.stem for path in package.glob("*.py")}
