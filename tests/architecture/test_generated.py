"""What is generated is what is checked in."""

import pytest

from deploy import render, settings_page
from deploy.kubernetes import nack
from deploy.monitoring import dashboard
from deploy.settings import SERVICES
from services.saga import diagrams
from services.saga.core.steps import flatten
from services.saga.definitions import DEFINITIONS
from shared.messages.catalog import catalog


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
    assert dashboard.PAGE.read_text() == dashboard.written()


def test_the_streams_for_nack_are_what_make_render_writes():
    assert nack.PAGE.read_text() == nack.page(catalog())


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: f"{each.saga_type}-{each.version}")
def test_a_diagram_has_every_step_and_every_undo(definition):
    drawn = diagrams.diagram(definition)
    for step in flatten(definition.steps):
        assert step.name.replace("-", "_") in drawn
        assert all(undo.command.__name__.replace("_", "-") in drawn for undo in step.undo)
