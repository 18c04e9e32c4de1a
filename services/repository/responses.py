"""What is answered over HTTP, and how long it may be kept by whom. Pure: the time is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus

AS_LONG_AS_IT_IS_SO = "public, max-age=86400, immutable"
"""A certificate that is named by its id never changes."""
ASK_AGAIN = "public, no-cache"
"""May be kept, and shown only after it was asked for again with its ETag: it changes without notice."""
NOT_TO_BE_KEPT = "no-store"
_LONGEST = 600


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Particulars:
    """What a document is known by, and from when until when it says to be the newest."""

    etag: str
    this_update: datetime | None = None
    next_update: datetime | None = None


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def document(body: bytes, media_type: str, particulars: Particulars, cache_control: str) -> Answer:
    headers = {"Content-Type": media_type, "ETag": particulars.etag, "Cache-Control": cache_control}
    return Answer(HTTPStatus.OK, body, headers)


def statement(body: bytes, media_type: str, particulars: Particulars, now: datetime) -> Answer:
    """A CRL or an OCSP answer, with the headers of RFC 5019, 6.2 (RFC 5280 has nothing like it for CRLs).

    `Expires` is nextUpdate, as it asks. `max-age`, which every cache since HTTP/1.1 takes before that, is ten minutes
    at most: so long may a cache on the way hide a revocation. To ask again costs a 304 without a body.
    """
    left = _LONGEST
    until = particulars.next_update
    if until is not None:
        left = max(0, min(_LONGEST, int((until - now).total_seconds())))
    answer = document(body, media_type, particulars, f"public, no-transform, must-revalidate, max-age={left}")
    times = {"Last-Modified": particulars.this_update, "Expires": until}
    told = {name: format_datetime(at.astimezone(UTC), usegmt=True) for name, at in times.items() if at is not None}
    return replace(answer, headers={**answer.headers, **told})


def refusal(status: HTTPStatus, text: str, **headers: str) -> Answer:
    """No, in one line."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    plain = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": NOT_TO_BE_KEPT}
    return Answer(status, f"{text}\n".encode(), {**plain, **told})


def unless_known(answer: Answer, asked: Mapping[str, str]) -> Answer:
    """The answer, or that its asker has it already (RFC 9110, 13.1.2, 13.1.3 and 13.2.2)."""
    if answer.status is not HTTPStatus.OK:
        return answer
    if (known := asked.get("if-none-match")) is not None:
        is_known = known.strip() == "*" or answer.headers.get("ETag") in _tags(known)
    else:
        is_known = _is_not_newer(answer.headers.get("Last-Modified"), asked.get("if-modified-since"))
    if not is_known:
        return answer
    kept = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    return Answer(HTTPStatus.NOT_MODIFIED, b"", kept)


def _tags(known: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in known.split(",")]


def _is_not_newer(modified: str | None, since: str | None) -> bool:
    if modified is None or since is None:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):  # no date, or one without a zone: then it is as if it were not asked
        return False
