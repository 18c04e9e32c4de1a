"""The repository's paths as a starlette application: the document behind each path, and its format."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.repository import ocsp
from services.repository.documents import Documents
from services.repository.responses import (
    IMMUTABLE,
    REVALIDATE,
    DocumentMetadata,
    conditional,
    document,
    etag_of,
    plain_text,
    revocation_status,
    unsigned_ocsp_response,
)
from shared.errors import Transient

MAX_PATH_BYTES: Final = 2048
MAX_BODY_BYTES: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 10.0
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
_OCSP_REQUEST, _OCSP_RESPONSE = "application/ocsp-request", "application/ocsp-response"
_NOT_FOUND: Final = "there is nothing of that name"


class _IdConvertor(StringConvertor):
    """A UUID in lower case with hyphens: starlette's own `uuid` also accepts upper case and other notations."""

    regex = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class _RestConvertor(StringConvertor):
    """The rest of a path, slashes included, and not empty: starlette's own `path` also matches the empty text."""

    regex = ".+"


register_url_convertor("id", _IdConvertor())
register_url_convertor("rest", _RestConvertor())


class PathLimit:
    """Middleware that rejects long paths, and paths with a line feed, which starlette's patterns would accept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif len(scope["raw_path"]) > MAX_PATH_BYTES:
            too_long = plain_text(HTTPStatus.REQUEST_URI_TOO_LONG, f"a path has at most {MAX_PATH_BYTES} octets")
            await too_long(scope, receive, send)
        elif scope["path"].endswith("\n"):
            await plain_text(HTTPStatus.NOT_FOUND, _NOT_FOUND)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def application(documents: Documents) -> Starlette:
    """Returns the ASGI application that serves *documents*."""
    endpoints = _Endpoints(documents)
    app = Starlette(
        routes=[
            _get("/crl/{name:id}.crl", endpoints.crl),
            _get("/ca/{name:id}.cer", endpoints.ca_certificate),
            _get("/ca/{name:id}.p7c", endpoints.ca_certificate_in_pkcs7),
            _get("/bundle", endpoints.all_bundles),
            _get("/bundle/{name:id}", endpoints.bundle),
            _get("/certificate/{name:id}", endpoints.certificate),
            Route("/ocsp", endpoints.ocsp_by_post, methods=["POST"]),
            Route("/ocsp/", endpoints.ocsp_by_post, methods=["POST"]),
            _get("/ocsp/{name:rest}", endpoints.ocsp_by_get),
            _get("/health/live", endpoints.live),
            _get("/health/ready", endpoints.ready),
        ],
        middleware=[Middleware(PathLimit)],
        exception_handlers={
            HTTPException: _on_http_error,
            Transient: _on_transient,
            ClientDisconnect: _on_client_disconnect,
        },
    )
    app.router.redirect_slashes = False
    return app


def _get(path: str, endpoint: Callable[[str], Awaitable[Response]]) -> Route:
    """Returns a route for GET and HEAD, with conditional requests; *endpoint* gets the variable part of the path."""

    async def respond(request: Request) -> Response:
        return conditional(await endpoint(request.path_params.get("name", "")), request.headers)

    return Route(path, respond)


class _Endpoints:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def crl(self, issuer_id: str) -> Response:
        if (stored := await self._documents.get(f"crl.{issuer_id}")) is None:
            return _not_found()
        metadata = self._documents.metadata(stored, _crl_metadata)
        return revocation_status(stored.data, "application/pkix-crl", metadata, datetime.now(UTC))

    async def ca_certificate(self, certificate_id: str) -> Response:
        if (stored := await self._documents.get(f"ca.{certificate_id}")) is None:
            return _not_found()
        return _document(stored.data, "application/pkix-cert", IMMUTABLE)

    async def ca_certificate_in_pkcs7(self, certificate_id: str) -> Response:
        if (stored := await self._documents.get(f"ca.{certificate_id}")) is None:
            return _not_found()
        wrapped = serialize_certificates([x509.load_der_x509_certificate(stored.data)], Encoding.DER)
        return _document(wrapped, "application/pkcs7-mime; smime-type=certs-only", IMMUTABLE)

    async def bundle(self, bundle_id: str) -> Response:
        if (stored := await self._documents.get(f"bundle.{bundle_id}")) is None:
            return _not_found()
        return _document(stored.data, "application/x-pem-file", REVALIDATE)

    async def all_bundles(self, _: str) -> Response:
        """Returns each root of any bundle once, in the order of the bundles' ids, so that the ETag is stable."""
        stored = sorted(await self._documents.get_matching("bundle.*"), key=lambda bundle: bundle.subject)
        roots = dict.fromkeys(pem.strip() for bundle in stored for pem in _PEM.findall(bundle.data.decode()))
        if not roots:
            return _not_found()
        return _document("".join(f"{pem}\n" for pem in roots).encode(), "application/x-pem-file", REVALIDATE)

    async def certificate(self, certificate_id: str) -> Response:
        if (stored := await self._documents.get(f"certificate.{certificate_id}")) is None:
            return _not_found()
        return _document(stored.data, "application/json", REVALIDATE)

    async def ocsp_by_get(self, text: str) -> Response:
        return await self._ocsp(ocsp.decode_path(text))

    async def ocsp_by_post(self, request: Request) -> Response:
        body = await _body(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _OCSP_REQUEST:
            return plain_text(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"an OCSP request is {_OCSP_REQUEST}")
        return await self._ocsp(body)

    async def _ocsp(self, request: bytes) -> Response:
        key = ocsp.response_key(request)
        if isinstance(key, ocsp.UnsignedResponse):
            return _unsigned(key)
        try:
            stored = await self._documents.get(key)
        except Transient:
            return _unsigned(ocsp.UnsignedResponse.TRY_LATER)
        if stored is None:
            return _unsigned(ocsp.UnsignedResponse.UNAUTHORIZED)
        metadata = self._documents.metadata(stored, ocsp.read_metadata)
        return revocation_status(stored.data, _OCSP_RESPONSE, metadata, datetime.now(UTC))

    async def live(self, _: str) -> Response:
        return plain_text(HTTPStatus.OK, "live")

    async def ready(self, _: str) -> Response:
        """Tries a read from KEYS_VIEWS; the document itself need not exist."""
        await self._documents.get("ready")
        return plain_text(HTTPStatus.OK, "ready")


async def _body(request: Request) -> bytes:
    """Reads the body within limits of size and time."""
    too_large = HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} octets", {"Connection": "close"}
    )
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {_BODY_TIMEOUT_S:g} s", {"Connection": "close"}
        ) from None
    return bytes(body)


async def _on_http_error(_: Request, error: Any) -> Response:
    headers = dict(error.headers or {})
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return _not_found()
        case HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # starlette's order differs by process
            return plain_text(HTTPStatus.METHOD_NOT_ALLOWED, f"this path allows {headers['Allow']}", headers)
        case _:
            return plain_text(HTTPStatus(error.status_code), error.detail, headers)


async def _on_transient(_: Request, __: Exception) -> Response:
    text = "documents cannot be read at the moment: there is no connection to NATS, or no answer"
    return plain_text(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "1"})


async def _on_client_disconnect(_: Request, __: Exception) -> Response:
    return Response()  # the client has gone and receives nothing


def _document(body: bytes, media_type: str, cache_control: str) -> Response:
    return document(body, media_type, DocumentMetadata(etag_of(body)), cache_control)


def _not_found() -> Response:
    return plain_text(HTTPStatus.NOT_FOUND, _NOT_FOUND)


def _unsigned(response: ocsp.UnsignedResponse) -> Response:
    return unsigned_ocsp_response(response.value, _OCSP_RESPONSE)


def _crl_metadata(encoded: bytes) -> DocumentMetadata:
    crl = x509.load_der_x509_crl(encoded)
    return DocumentMetadata(etag_of(encoded), crl.last_update_utc, crl.next_update_utc)
