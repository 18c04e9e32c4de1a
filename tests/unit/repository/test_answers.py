"""How long caches may store a response, and when the client has it already."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import pytest
from starlette.responses import Response

from services.repository.responses import (
    DocumentMetadata,
    conditional,
    document,
    etag_of,
    plain_text,
    revocation_status,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BODY = b"a list of what is revoked"


def stated(until, body=BODY):
    return revocation_status(body, "application/pkix-crl", DocumentMetadata(etag_of(body), NOON, until), NOON)


def test_a_statement_tells_since_when_and_until_when_it_is_the_newest():
    answer = stated(NOON + timedelta(hours=1))

    assert answer.headers["Last-Modified"] == "Mon, 01 Jun 2026 12:00:00 GMT"
    assert answer.headers["Expires"] == "Mon, 01 Jun 2026 13:00:00 GMT"


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(timedelta(days=7), 600), (timedelta(seconds=599), 599), (timedelta(0), 0), (timedelta(days=-1), 0)],
)
def test_a_statement_may_be_kept_ten_minutes_and_never_beyond_its_end(left, seconds):
    kept = stated(NOON + left).headers["Cache-Control"]

    assert kept == f"public, no-transform, must-revalidate, max-age={seconds}"


def test_a_statement_without_an_end_has_no_expires():
    assert "Expires" not in stated(None).headers


def test_other_bytes_have_another_tag():
    assert etag_of(b"one") != etag_of(b"other")
    assert etag_of(b"one") == etag_of(b"one")


def test_its_tag_is_strong():
    assert etag_of(b"one").startswith('"')


TAG = etag_of(BODY)


@pytest.mark.parametrize("known", [TAG, "*", f'"other", {TAG}', f"W/{TAG}"])
def test_who_has_it_is_told_so_without_a_body(known):
    answer = conditional(stated(NOON + timedelta(hours=1)), {"if-none-match": known})

    assert (answer.status_code, answer.body) == (HTTPStatus.NOT_MODIFIED, b"")
    assert {"etag", "cache-control", "expires", "last-modified"} == set(answer.headers) - {"x-content-type-options"}


@pytest.mark.parametrize("asked", [{}, {"if-none-match": '"other"'}, {"if-modified-since": "yesterday"}])
def test_who_has_it_not_is_given_it(asked):
    answer = stated(NOON + timedelta(hours=1))

    assert conditional(answer, asked) == answer


@pytest.mark.parametrize(("since", "status"), [(NOON, 304), (NOON - timedelta(seconds=1), 200)])
def test_who_has_no_tag_is_asked_since_when(since, status):
    asked = {"if-modified-since": format_datetime(since, usegmt=True)}

    assert conditional(stated(NOON + timedelta(hours=1)), asked).status_code == status


def test_a_tag_counts_more_than_a_time():
    asked = {"if-none-match": '"other"', "if-modified-since": format_datetime(NOON, usegmt=True)}

    assert conditional(stated(NOON + timedelta(hours=1)), asked).status_code == HTTPStatus.OK


def test_what_has_no_time_is_not_compared_by_time():
    answer = document(BODY, "application/json", DocumentMetadata(TAG), "no-cache")

    assert conditional(answer, {"if-modified-since": format_datetime(NOON, usegmt=True)}) == answer


def test_a_refusal_is_one_line_that_nobody_keeps():
    answer = plain_text(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    assert answer.body == b"there is nothing of that name\n"
    assert answer.headers["Cache-Control"] == "no-store"
    assert conditional(answer, {"if-none-match": "*"}) == answer
    assert isinstance(answer, Response)
