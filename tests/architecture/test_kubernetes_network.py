"""Network policies allow the connections that docs/kubernetes.md lists, and no others."""

import pytest

from tests.support.manifests import (
    EVERYTHING,
    OVERLAYS,
    WITHOUT_KUBECTL,
    missing,
    of_kind,
    ours,
    pods,
    rendered,
    says,
)

pytestmark = pytest.mark.skipif(missing() is not None, reason=WITHOUT_KUBECTL)

SUITE, NATS, REPOSITORY = "name=cim-keys", "name=nats", "component=repository"
DNS = "k8s-app=kube-dns in kube-system"
PROMISED = {
    f"{SUITE} is asked by anybody on TCP 8081",
    f"{REPOSITORY} is asked by anybody on TCP 8080",
    f"{SUITE} asks {NATS} on TCP 4222",
    f"{SUITE} asks {DNS} on UDP 53",
    f"{SUITE} asks {DNS} on TCP 53",
    f"{NATS} is asked by {SUITE} on TCP 4222",
    f"{NATS} is asked by anybody in namespaces with cim-keys/client=true on TCP 4222",
    f"{NATS} is asked by {NATS} on TCP 6222",
    f"{NATS} asks {NATS} on TCP 6222",
    f"{NATS} asks {DNS} on UDP 53",
    f"{NATS} asks {DNS} on TCP 53",
}
OF_COMPONENTS = {
    f"{NATS} is asked by anybody in keda on TCP 8222",
    f"{NATS} is asked by anybody in observability on TCP 7777",
    f"{SUITE} asks name=opentelemetry-collector in observability on TCP 4318",
}


@pytest.mark.parametrize(
    ("name", "promised"), [*((overlay, PROMISED) for overlay in OVERLAYS), (EVERYTHING, PROMISED | OF_COMPONENTS)]
)
def test_the_network_lets_through_what_is_promised_and_no_more(name, promised):
    assert {said for policy in of_kind(rendered(name), "NetworkPolicy") for said in _lets(policy["spec"])} == promised


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_whoever_is_not_named_speaks_to_nobody(name):
    specs = [policy["spec"] for policy in of_kind(rendered(name), "NetworkPolicy")]

    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in specs


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_whom_a_policy_names_is_there(name):
    labels = [pod["metadata"]["labels"].items() for pod in pods(rendered(name)).values()]
    chart = {"app.kubernetes.io/name": "nats"}.items()  # in production NATS comes by its own chart, with this label

    for policy in of_kind(rendered(name), "NetworkPolicy"):
        selected = policy["spec"]["podSelector"].get("matchLabels", {}).items()
        assert any(selected <= has for has in (*labels, chart))


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_a_service_listens_on_no_port_but_those_that_are_promised(name):
    for workload, pod in pods(rendered(name)).items():
        for container in ours(pod):
            listening = {
                says(container)[setting] for setting in ("HEALTH_PORT", "HTTP_PORT") if setting in says(container)
            }
            assert {str(port["containerPort"]) for port in container.get("ports", [])} == listening
            assert listening <= ({"8080", "8081"} if workload == "repository" else {"8081"})


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_a_service_s_port_is_one_that_its_pods_have(name):
    for service in of_kind(rendered(name), "Service"):
        wanted = service["spec"]["selector"].items()
        (pod,) = (pod for pod in pods(rendered(name)).values() if wanted <= pod["metadata"]["labels"].items())
        named = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_in_development_nats_is_where_the_services_look_for_it():
    (nats,) = (each for each in of_kind(rendered("development"), "Service") if each["metadata"]["name"] == "nats")
    looked_for = {
        says(container)["NATS_URL"] for pod in pods(rendered("development")).values() for container in ours(pod)
    }

    assert looked_for == {f"nats://{nats['metadata']['name']}:{nats['spec']['ports'][0]['port']}"}


def _lets(spec):
    """Each thing that a policy lets through, as a sentence."""
    who = _whom(spec["podSelector"])
    for kind, verb in (("ingress", "is asked by"), ("egress", "asks")):
        for rule in spec.get(kind, []):
            for peer in rule.get("from", rule.get("to", [{}])):
                for port in rule.get("ports", [{"port": "any"}]):
                    yield f"{who} {verb} {_peer(peer)} on {port.get('protocol', 'TCP')} {port['port']}"


def _peer(peer):
    assert peer.keys() <= {"podSelector", "namespaceSelector"}
    where = peer.get("namespaceSelector", {}).get("matchLabels", {})
    place = where.get("kubernetes.io/metadata.name") or (f"namespaces with {_joined(where)}" if where else None)
    return _whom(peer.get("podSelector", {})) + (f" in {place}" if place else "")


def _whom(selector):
    assert selector.keys() <= {"matchLabels"}
    return _joined(selector.get("matchLabels", {})) or "anybody"


def _joined(labels):
    return ",".join(f"{name.removeprefix('app.kubernetes.io/')}={value}" for name, value in labels.items())
