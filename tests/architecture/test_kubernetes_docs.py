"""The page on Kubernetes refers to existing things only."""

import re

from deploy.images.lock import IMAGES
from tests.support.manifests import COMPONENTS, KUBERNETES

ROOT = KUBERNETES.parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
PRODUCTION = (KUBERNETES / "overlays" / "production" / "kustomization.yaml").read_text()


def test_whatever_is_applied_is_there():
    applied = set(re.findall(r"kubectl apply -k ([\w/.-]+)", PAGE))

    assert applied
    assert all((ROOT / directory / "kustomization.yaml").is_file() for directory in applied)


def test_every_component_has_a_line_and_can_be_switched_on():
    told = re.search(r"\| component \|.*?\n\n", PAGE, re.DOTALL)[0]

    assert set(re.findall(r"^\| `([\w-]+)`", told, re.MULTILINE)) == set(COMPONENTS)
    assert set(re.findall(r"^# - \.\./\.\./components/([\w-]+)$", PRODUCTION, re.MULTILINE)) == set(COMPONENTS)


def test_the_images_that_one_builds_are_those_of_the_overlays():
    (built,) = re.findall(r"for image in ([a-z ]+);", PAGE)

    assert set(built.split()) == set(IMAGES) - {"console"}
    for overlay in ("development", "production"):
        named = re.findall(
            r"name: cim-keys-(\w+),", (KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text()
        )
        assert set(built.split()) <= set(named)
