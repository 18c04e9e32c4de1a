"""The restricted profile of the Pod Security Standards (v1.32) as data: fields of a pod and their allowed values.

`*` is every container, including init containers; None is an absent field. INHERITED has the rules that a pod's field
satisfies for its containers.
"""

from __future__ import annotations

from typing import Any

from tests.support.manifests import Manifest, containers

ABSENT = None
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX = {ABSENT, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
ALLOWED: dict[str, set[Any]] = {
    "hostNetwork": {ABSENT, False},
    "hostPID": {ABSENT, False},
    "hostIPC": {ABSENT, False},
    "securityContext.seLinuxOptions.type": SELINUX,
    "securityContext.seLinuxOptions.user": {ABSENT, ""},
    "securityContext.seLinuxOptions.role": {ABSENT, ""},
    "securityContext.sysctls": {ABSENT},
    "securityContext.windowsOptions.hostProcess": {ABSENT, False},
    "*.securityContext.privileged": {ABSENT, False},
    "*.securityContext.allowPrivilegeEscalation": {False},
    "*.securityContext.procMount": {ABSENT, "Default"},
    "*.securityContext.seLinuxOptions.type": SELINUX,
    "*.securityContext.appArmorProfile.type": {ABSENT, "RuntimeDefault", "Localhost"},
    "*.livenessProbe.httpGet.host": {ABSENT, ""},
    "*.lifecycle.preStop.httpGet.host": {ABSENT, ""},
}
INHERITED: dict[str, set[Any]] = {
    "securityContext.runAsNonRoot": {True},
    "securityContext.seccompProfile.type": {"RuntimeDefault", "Localhost"},
}


def breaches(pod: Manifest) -> list[str]:
    """Returns the fields of the pod that violate the profile."""
    spec = pod["spec"]
    found = [
        f"{where} is {value}"
        for where, allowed in ALLOWED.items()
        for part in (containers(pod) if where.startswith("*") else [spec])
        if (value := _at(part, where.removeprefix("*."))) not in allowed
    ]
    found += [
        f"{where} is {value} in {container['name']}"
        for where, allowed in INHERITED.items()
        for container in containers(pod)
        if (value := _first(_at(container, where), _at(spec, where))) not in allowed
    ]
    found += [f"a volume is a {kind}" for each in spec.get("volumes", []) for kind in each.keys() - {"name"} - VOLUMES]
    for container in containers(pod):
        capabilities = _at(container, "securityContext.capabilities") or {}
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append(f"{container['name']} keeps capabilities")
        if any(port.get("hostPort") for port in container.get("ports", [])):
            found.append(f"{container['name']} uses a port of its host")
        if 0 in {_at(container, "securityContext.runAsUser"), _at(spec, "securityContext.runAsUser")}:
            found.append(f"{container['name']} is root")
    return found


def _at(part: Manifest, where: str) -> Any:
    value: Any = part
    for name in where.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return tuple(value) if isinstance(value, list) else value


def _first(own: Any, inherited: Any) -> Any:
    return inherited if own is None else own
