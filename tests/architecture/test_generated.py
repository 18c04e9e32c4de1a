"""What is generated is what is checked in."""

from deploy import render


def test_the_asyncapi_page_is_what_make_render_writes():
    assert render.PAGE.read_text() == render.asyncapi()
