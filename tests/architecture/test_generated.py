"""Generated files are up to date."""

import json

import pytest
import yaml

from deploy import render, settings_page
from deploy.kubernetes import nack
from deploy.monitoring import dashboard
from deploy.settings import SERVICES
from services.certificate.nats_jwt.domain import NATS_JWT
from services.certificate.ocsp.domain import OCSP
from services.certificate.policy.rules import Policy
from services.certificate.ssh.domain import ssh_certificate_decider
from services.certificate.trust_bundle.domain import TRUST_BUNDLE
from services.certificate.x509.domain import certificate_decider
from services.key.domain import KEY
from services.saga import diagrams
from services.saga.core.steps import flatten
from services.saga.definitions import DEFINITIONS
from services.yubikey.core.domain import YUBIKEY
from services.yubikey.core.prompts import PROMPT
from shared.messages.catalog import catalog
from shared.process.host import Host
from shared.process.runtime import Aggregate, serve

DECIDERS = {
    "key": (KEY,),
    "certificate": (certificate_decider(Policy()), OCSP, TRUST_BUNDLE, NATS_JWT, ssh_certificate_decider(())),
    "yubikey": (YUBIKEY, PROMPT),
}


def test_the_asyncapi_page_is_what_make_render_writes():
    assert render.PAGE.read_text() == render.asyncapi()


def test_the_page_of_settings_is_what_make_render_writes():
    assert settings_page.PAGE.read_text() == settings_page.page()


def test_every_process_has_its_settings_on_the_page():
    assert {*SERVICES, "console"} == {
        each.removeprefix("services.") for each in settings_page.PROCESSES if "services" in each
    }


def test_the_page_of_sagas_is_what_make_render_writes():
    assert (render.PAGE.parent / "sagas.md").read_text() == diagrams.page()


def test_the_dashboard_is_what_make_render_writes():
    assert dashboard.PAGE.read_text() == dashboard.render()


def test_the_streams_for_nack_are_what_make_render_writes():
    assert nack.PAGE.read_text() == nack.page(catalog())


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: f"{each.saga_type}-{each.version}")
def test_a_diagram_has_every_step_and_every_undo(definition):
    drawn = diagrams.diagram(definition)
    for step in flatten(definition.steps):
        assert step.name.replace("-", "_") in drawn
        assert all(undo.command.__name__.replace("_", "-") in drawn for undo in step.undo)


@pytest.mark.parametrize("service", DECIDERS)
def test_what_faststream_tells_of_a_services_commands_is_what_the_page_says(service):
    aggregates = [Aggregate(str(number), decider) for number, decider in enumerate(DECIDERS[service])]
    app = serve(Host("nats://127.0.0.1:1", service), service, *aggregates)
    theirs, page = json.loads(app.schema.to_specification().to_json()), yaml.safe_load(render.PAGE.read_text())

    sent = {channel["address"]: _payload(theirs, channel) for channel in theirs["channels"].values()}
    channels = {channel["address"]: channel for channel in page["channels"].values()}
    assert sorted(sent) == catalog().commands_of(service)
    assert sent == {address: _payload(page, channels[address]) for address in sent}
    assert all(page["components"]["schemas"][name] == each for name, each in theirs["components"]["schemas"].items())


def _payload(document, channel):
    (reference,) = channel["messages"].values()
    name = reference["$ref"].removeprefix("#/components/messages/")
    return document["components"]["messages"][name]["payload"]
