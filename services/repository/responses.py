"""HTTP responses and their caching: media types, ETags, freshness, conditional requests. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus

from starlette.responses import Response

IMMUTABLE = "public, max-age=86400, immutable"
"""For certificates under their id: they never change."""
REVALIDATE = "public, no-cache"
"""For documents that change without notice: a cache revalidates them by ETag before each use."""
NO_STORE = "no-store"
_MAX_AGE_S = 600


@dataclass(frozen=True, slots=True)
class DocumentMetadata:
    """The ETag of a document and, for CRLs and OCSP responses, the period in which it is current."""

    etag: str
    this_update: datetime | None = None
    next_update: datetime | None = None


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def document(body: bytes, media_type: str, metadata: DocumentMetadata, cache_control: str) -> Response:
    headers = {"Content-Type": media_type, "ETag": metadata.etag, "Cache-Control": cache_control}
    return _response(HTTPStatus.OK, body, headers)


def revocation_status(body: bytes, media_type: str, metadata: DocumentMetadata, now: datetime) -> Response:
    """Returns a CRL or an OCSP response with the headers of RFC 5019, 6.2 (RFC 5280 has none for CRLs).

    `Expires` is nextUpdate, as the RFC requires. HTTP/1.1 caches prefer `max-age`, which is ten minutes at most:
    a cache may hide a revocation for no longer. Revalidation costs a 304 without a body.
    """
    max_age = _MAX_AGE_S
    if metadata.next_update is not None:
        max_age = max(0, min(_MAX_AGE_S, int((metadata.next_update - now).total_seconds())))
    cache_control = f"public, no-transform, must-revalidate, max-age={max_age}"
    response = document(body, media_type, metadata, cache_control)
    for name, at in (("Last-Modified", metadata.this_update), ("Expires", metadata.next_update)):
        if at is not None:
            response.headers[name] = format_datetime(at.astimezone(UTC), usegmt=True)
    return response


def unsigned_ocsp_response(body: bytes, media_type: str) -> Response:
    """Returns a response that no cache may store: without a signature, anybody could have forged it."""
    return _response(HTTPStatus.OK, body, {"Content-Type": media_type, "Cache-Control": NO_STORE})


def plain_text(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Returns one line that no cache stores."""
    plain = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": NO_STORE}
    return _response(status, f"{text}\n".encode(), plain | dict(headers or {}))


def conditional(response: Response, request_headers: Mapping[str, str]) -> Response:
    """Returns *response*, or a 304 if the client has that version (RFC 9110, 13.1.2, 13.1.3 and 13.2.2)."""
    if response.status_code != HTTPStatus.OK:
        return response
    if (tags := request_headers.get("if-none-match")) is not None:
        is_current = tags.strip() == "*" or response.headers.get("etag") in _tags(tags)
    else:
        is_current = _is_not_newer(response.headers.get("last-modified"), request_headers.get("if-modified-since"))
    if not is_current:
        return response
    dropped = {"content-type", "content-length"}
    kept = {name: value for name, value in response.headers.items() if name not in dropped}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def _response(status: HTTPStatus, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, {**headers, "X-Content-Type-Options": "nosniff"})


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _is_not_newer(modified: str | None, since: str | None) -> bool:
    if modified is None or since is None:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):  # RFC 9110, 13.1.3: an invalid date is ignored, and so is one without a zone
        return False
