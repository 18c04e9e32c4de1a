"""Pods: the restricted profile, settings that their process reads, their own secrets."""

import os
from pathlib import Path

import pytest

from deploy import declare, upgrade
from deploy.settings import SERVICES
from deploy.settings_page import settings_of
from shared.process.settings import is_open_to_others
from tests.support.kubernetes_secrets import made_in
from tests.support.manifests import (
    EVERYTHING,
    RENDERED,
    WITHOUT_KUBECTL,
    missing,
    of_kind,
    ours,
    pods,
    rendered,
    says,
)
from tests.support.pod_security import breaches

pytestmark = pytest.mark.skipif(missing() is not None, reason=WITHOUT_KUBECTL)

each_overlay = pytest.mark.parametrize("name", RENDERED)
AS_THE_CLUSTER_SAYS = {"from spec.nodeName": "machine-1"}
SECRET_SETTINGS = ("PASSWORD", "PASSPHRASE", "SECRET", "KEK", "SEED", "TOKEN", "NKEY", "CREDS")


class Environment(dict):
    """An environment that knows what of it was read."""

    def __init__(self, said):
        super().__init__(said)
        self.read = set()

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    def pop(self, name, *default):
        self.read.add(name)
        return super().pop(name, *default)


@pytest.fixture(name="secrets")
def _secrets(tmp_path):
    return made_in(tmp_path)


@each_overlay
def test_every_pod_is_within_the_restricted_profile(name):
    assert {workload: breaches(pod) for workload, pod in pods(rendered(name)).items() if breaches(pod)} == {}


@each_overlay
def test_the_namespace_admits_no_other(name):
    (namespace,) = of_kind(rendered(name), "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace") for each in rendered(name)} == {None, namespace["metadata"]["name"]}


def test_what_has_the_devices_of_its_host_is_privileged_and_has_a_namespace_of_its_own():
    (pod,) = pods(rendered("device-plugin")).values()
    (namespace,) = of_kind(rendered("device-plugin"), "Namespace")

    assert "*.securityContext.privileged is True" in breaches(pod)
    assert "a volume is a hostPath" in breaches(pod)
    assert namespace["metadata"]["name"] != of_kind(rendered("production"), "Namespace")[0]["metadata"]["name"]


@pytest.mark.parametrize(
    ("where", "what", "breach"),
    [
        ("pod", {"hostNetwork": True}, "hostNetwork is True"),
        ("pod", {"volumes": [{"name": "a", "hostPath": {}}]}, "a volume is a hostPath"),
        (
            "pod",
            {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
            "securityContext.runAsNonRoot is None in one",
        ),
        ("pod", {"securityContext": {"runAsNonRoot": True}}, "securityContext.seccompProfile.type is None in one"),
        ("container", {"capabilities": {"drop": ["NET_RAW"]}}, "one keeps capabilities"),
        ("container", {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, "one keeps capabilities"),
        ("container", {"allowPrivilegeEscalation": True}, "*.securityContext.allowPrivilegeEscalation is True"),
        ("container", {"runAsUser": 0}, "one is root"),
        ("container", {"runAsNonRoot": False}, "securityContext.runAsNonRoot is False in one"),
    ],
)
def test_a_breach_of_the_profile_is_found(where, what, breach):
    shut = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    spec["containers"] = [{"name": "one", "securityContext": shut | (what if where == "container" else {})}]
    assert breach in breaches({"spec": spec | (what if where == "pod" else {})})


@each_overlay
def test_no_container_of_ours_can_write_to_its_file_system_or_speak_to_the_cluster(name):
    for pod in pods(rendered(name)).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["securityContext"]["runAsUser"] == 10001
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in pod["spec"]["containers"])


@each_overlay
def test_no_secret_is_in_an_environment_or_read_by_others_than_the_pod_s_group(name):
    for pod in pods(rendered(name)).values():
        for container in ours(pod):
            assert all("value" in each or "fieldRef" in each["valueFrom"] for each in container.get("env", []))
            assert "envFrom" not in container
            for setting, value in says(container).items():
                assert value.startswith("/secrets/") or not any(word in setting for word in SECRET_SETTINGS)
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
                assert pod["spec"]["securityContext"]["fsGroup"] == 10001


def test_a_secret_of_that_mode_is_one_that_the_services_take():
    mounted, own = (
        os.stat_result((0o100440, 0, 0, 1, user, 10001, 0, 0, 0, 0)) for user in (os.geteuid() + 1, os.geteuid())
    )

    assert not is_open_to_others(mounted)
    assert is_open_to_others(own)


@pytest.mark.parametrize("name", ["production", EVERYTHING])
def test_a_pod_s_secret_has_the_files_that_its_settings_name_and_no_other(name, secrets):
    for workload, pod in pods(rendered(name)).items():
        for container in ours(pod):
            named = {Path(value).name for value in says(container).values() if value.startswith("/secrets/")}
            (mounted,) = (each["secret"]["secretName"] for each in pod["spec"]["volumes"] if each["name"] == "secrets")
            assert mounted == f"cim-keys-{'provisioner' if workload == 'declare' else workload}"
            assert set(secrets[mounted]) == named


@each_overlay
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_every_setting_that_its_manifest_names(name, service, secrets, tmp_path, monkeypatch):
    (container,) = ours(pods(rendered(name))[service])
    environment = as_mounted(container, secrets[f"cim-keys-{service}"], tmp_path)
    monkeypatch.setattr(os, "environ", environment)

    settings_of(f"services.{service}").read(environment)

    assert set(says(container)) - environment.read == set()


@pytest.mark.parametrize(("name", "job"), [("production", declare), ("development", declare), ("upgrade", upgrade)])
def test_a_job_reads_every_setting_that_its_manifest_names(name, job, secrets, tmp_path, monkeypatch):
    (container,) = ours(pods(rendered(name))[job.__name__.rpartition(".")[2]])
    environment = as_mounted(container, secrets["cim-keys-provisioner"], tmp_path)
    environment["NATS_URL"] = "nats://127.0.0.1:1"
    monkeypatch.setattr(os, "environ", environment)

    with pytest.raises(SystemExit, match=r"^(streams were not declared|the upgrade is incomplete): "):
        job.main()

    assert set(says(container)) - environment.read == set()


def test_a_setting_that_nobody_reads_is_found(tmp_path, monkeypatch):
    environment = as_mounted({"env": [{"name": "NATS_URI", "value": "nats://nats:4222"}]}, {}, tmp_path)
    monkeypatch.setattr(os, "environ", environment)

    settings_of("services.saga").read(environment)

    assert "NATS_URI" not in environment.read


def as_mounted(container, secret, directory):
    """The container's environment, with paths of files and directories that are there."""

    def there(value):
        if value.startswith("/secrets/"):
            return str(secret[Path(value).name])
        return str(directory) if value == "/state" else AS_THE_CLUSTER_SAYS.get(value, value)

    return Environment({setting: there(value) for setting, value in says(container).items()})
