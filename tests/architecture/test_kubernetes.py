"""Manifests are valid, refer to existing things only, and agree with docs/kubernetes.md."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.images.lock import IMAGES
from deploy.kubernetes.secrets import secret_files
from deploy.settings import SERVICES
from shared.messages.catalog import catalog
from shared.nats.streams import MIN_SERVER_VERSION
from shared.process.broker import GRACE_S
from tests.support import manifests
from tests.support.manifests import (
    EVERYTHING,
    KUBERNETES,
    RENDERED,
    containers,
    of_kind,
    ours,
    pods,
    rendered,
    says,
    workloads,
)

pytestmark = pytest.mark.skipif(manifests.missing() is not None, reason=manifests.WITHOUT_KUBECTL)

OLDEST_KUBERNETES = "1.32"
CUSTOM = yaml.safe_load((KUBERNETES.parents[1] / "tests" / "data" / "custom_resources.yaml").read_text())
REPLICATED = {"key", "certificate", "saga", "repository"}
NATS = yaml.safe_load((KUBERNETES / "nats" / "values.yaml").read_text())
HERE = Path()
EVERYWHERE = "0.0.0.0"  # noqa: S104 - as the manifests say it
SECRETS = secret_files(HERE, HERE, HERE)
TYPES = {"string": str, "integer": int, "boolean": bool}

each_overlay = pytest.mark.parametrize("name", RENDERED)
every_directory = pytest.mark.parametrize("name", [*RENDERED, "base", "nats", "device-plugin"])


@every_directory
@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field_of_every_manifest(name, version):
    for manifest in rendered(name):
        if _kind(manifest) not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_kubernetes_would_refuse_a_field_that_it_does_not_know():
    (service, *_) = of_kind(rendered("development"), "Service")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**service, "spec": {**service["spec"], "port": 1}}, OLDEST_KUBERNETES, strict=True
        )


def test_operators_know_every_field_of_the_resources_that_are_for_them():
    found = [each for each in rendered(EVERYTHING) if _kind(each) in CUSTOM]

    assert {_kind(each) for each in found} == set(CUSTOM)
    assert [problem for each in found for problem in _strange(each["spec"], CUSTOM[_kind(each)], "spec")] == []


def test_what_operators_do_not_know_is_found():
    known = CUSTOM["jetstream.nats.io/v1beta2 Stream"]

    assert list(_strange({"replicas": "3"}, known, "spec")) == ["spec.replicas is no integer"]
    assert list(_strange({"retention": "for ever"}, known, "spec")) == ["spec.retention is for ever"]
    assert list(_strange({"replica": 3}, known, "spec")) == ["spec.replica is unknown"]


@each_overlay
def test_every_image_is_one_that_is_built_here_and_has_a_tag(name):
    for workload, pod in pods(rendered(name)).items():
        for container in ours(pod):
            image, _, tag = container["image"].rpartition(":")
            built = image.rpartition("/")[2].removeprefix("cim-keys-")
            built = "yubikey" if (name, built) == ("development", "yubikey-virtual") else built
            assert built in IMAGES
            assert built == workload or (workload, built) == ("upgrade", "declare")
            assert tag not in {"", "latest"}


def test_only_development_runs_the_image_with_virtual_yubikeys_and_plugs_one_in():
    for name in RENDERED:
        (container,) = ours(pods(rendered(name))["yubikey"])
        image = container["image"].rpartition("/")[2].partition(":")[0]
        settings = {each["name"] for each in container["env"]}

        development = name == "development"
        assert image == ("cim-keys-yubikey-virtual" if development else "cim-keys-yubikey")
        assert ("VIRTUAL_YUBIKEYS" in settings) == development
        assert ("YUBIKEY_PCSC" in settings) == (not development)


@each_overlay
def test_every_service_is_there(name):
    assert set(SERVICES) <= set(workloads(rendered(name)))


@each_overlay
def test_no_container_is_without_limits_and_none_that_serves_without_probes(name):
    for workload in workloads(rendered(name)).values():
        for container in containers(workload["spec"]["template"]):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            if workload["kind"] != "Job":
                assert {"startupProbe", "livenessProbe"} <= container.keys()


@each_overlay
def test_a_service_is_restarted_when_it_is_dead_not_when_nats_is_away(name):
    expected = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}

    for container in serving(name):
        asked = {probe: container[probe]["httpGet"] for probe in expected}
        ports = {each["name"]: str(each["containerPort"]) for each in container["ports"]}
        assert {probe: each["path"] for probe, each in asked.items()} == expected
        assert {ports[each["port"]] for each in asked.values()} == {says(container)["HEALTH_PORT"]}
        assert says(container)["HEALTH_HOST"] == EVERYWHERE


@each_overlay
def test_who_is_told_to_stop_has_the_time_to_finish(name):
    consumers, background, connection = GRACE_S, 5, 10

    for pod in pods(rendered(name)).values():
        for container in ours(pod):
            asleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            given = pod["spec"].get("terminationGracePeriodSeconds", 30)
            assert given >= asleep + consumers + background + connection


@each_overlay
def test_every_disruption_budget_is_for_one_deployment_and_each_has_one(name):
    labels = {workload: pod["metadata"]["labels"] for workload, pod in pods(rendered(name)).items()}
    selected = []
    for budget in of_kind(rendered(name), "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        selected += [workload for workload, has in labels.items() if wanted <= has.items()]

    assert sorted(selected) == sorted(REPLICATED)


def test_in_production_there_are_two_of_each_on_different_machines():
    for name in REPLICATED:
        spec = workloads(rendered("production"))[name]["spec"]
        assert spec["replicas"] == 2
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        (host, zone) = spec["template"]["spec"]["topologySpreadConstraints"]
        assert (host["topologyKey"], zone["topologyKey"]) == ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        for constraint in (host, zone):
            assert constraint["labelSelector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_where_streams_are_upgraded_no_service_runs():
    found = workloads(rendered("upgrade"))

    assert {
        name for name, each in found.items() if each["kind"] == "Deployment" and each["spec"]["replicas"] == 0
    } == REPLICATED
    assert "cim-keys/upgraded" in found["yubikey"]["spec"]["template"]["spec"]["nodeSelector"]
    assert "declare" not in found
    (job,) = ours(found["upgrade"]["spec"]["template"])
    assert job["args"] == ["upgrade"]
    assert found["upgrade"]["spec"]["suspend"] is True


def test_keda_asks_for_every_durable_consumer_of_whom_it_scales_and_never_has_none_running():
    scaled = {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(EVERYTHING), "ScaledObject")}

    assert set(scaled) == {"key", "certificate", "saga"}
    for name, spec in scaled.items():
        asked = [(trigger["metadata"]["stream"], trigger["metadata"]["consumer"]) for trigger in spec["triggers"]]
        assert asked == [(catalog().consumers[durable].stream, durable) for durable in catalog().consumers_of(name)]
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicaCount"] >= 1
        assert "replicas" not in workloads(rendered(EVERYTHING))[name]["spec"]


def test_either_the_job_or_nack_declares_the_streams():
    def writers(name):
        return {each["kind"] for each in rendered(name) if each["kind"] in {"Job", "Stream"}}

    assert writers("production") == {"Job"}
    assert writers(EVERYTHING) == {"Stream"}


def test_in_production_every_stream_is_kept_on_each_of_the_three_servers():
    (job,) = ours(pods(rendered("production"))["declare"])

    assert says(job)["STREAM_REPLICAS"] == str(NATS["config"]["cluster"]["replicas"])
    assert {each["spec"]["replicas"] for each in of_kind(rendered(EVERYTHING), "Stream")} == {3}


def test_external_secrets_brings_every_secret_and_no_other():
    assert {each["metadata"]["name"] for each in of_kind(rendered(EVERYTHING), "ExternalSecret")} == set(SECRETS)


def test_nats_is_three_servers_that_know_each_other_and_their_clients_by_certificates():
    config = NATS["config"]

    assert config["cluster"]["replicas"] == 3
    assert config["jetstream"]["merge"]["sync_interval"] == "always"
    assert config["nats"]["tls"]["merge"]["verify"] is True
    for tls in (config["cluster"]["tls"], config["nats"]["tls"]):
        authority = tls["merge"]["ca_file"].rpartition("/")[2]
        assert tls["enabled"] is True
        assert tls["merge"]["min_version"] == "1.3"
        assert set(SECRETS[tls["secretName"]]) == {authority, tls["cert"], tls["key"]}


def test_nats_is_no_older_than_the_services_ask_for():
    said = re.match(r"(\d+)\.(\d+)\.(\d+)-alpine", NATS["container"]["image"]["tag"])
    (development,) = of_kind(rendered("development"), "StatefulSet")
    (nats,) = containers(development["spec"]["template"])

    assert tuple(map(int, said.groups())) >= MIN_SERVER_VERSION
    assert nats["image"] == f"nats:{said[0]}"


def serving(name):
    """The containers whose process answers probes: all of ours but the Jobs'."""
    found = [container for pod in pods(rendered(name)).values() for container in ours(pod) if "ports" in container]
    assert len(found) == len(SERVICES)
    return found


def _kind(manifest):
    return f"{manifest['apiVersion']} {manifest['kind']}"


def _strange(value, known, where):
    match known:
        case {"one of": words}:
            if value not in words:
                yield f"{where} is {value}"
        case dict():
            for name, each in value.items():
                if name in known:
                    yield from _strange(each, known[name], f"{where}.{name}")
                else:
                    yield f"{where}.{name} is unknown"
        case [each_is]:
            for each in value:
                yield from _strange(each, each_is, where)
        case _:
            if type(value) is not TYPES[known]:
                yield f"{where} is no {known}"
