"""Which path is which document, and in what form it is given out."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from services.repository import ocsp
from services.repository.documents import Documents
from services.repository.responses import (
    AS_LONG_AS_IT_IS_SO,
    ASK_AGAIN,
    NOT_TO_BE_KEPT,
    Answer,
    Particulars,
    document,
    etag_of,
    refusal,
    statement,
    unless_known,
)
from shared.errors import Transient

_ID: Final = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
_OCSP_REQUEST, _OCSP_RESPONSE = "application/ocsp-request", "application/ocsp-response"
_READ: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Request:
    """*headers* by their names in lower case; *body*: of a POST."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Routes:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        reading: tuple[tuple[str, Callable[[str], Awaitable[Answer]]], ...] = (
            (rf"/crl/{_ID}\.crl", self._crl),
            (rf"/ca/{_ID}\.cer", self._authority),
            (rf"/ca/{_ID}\.p7c", self._authority_in_pkcs7),
            (r"/bundle()", self._bundles),
            (rf"/bundle/{_ID}", self._bundle),
            (rf"/certificate/{_ID}", self._certificate),
            (r"/ocsp/(.+)", self._ocsp_in_path),
            (r"/health/live()", self._live),
            (r"/health/ready()", self._ready),
        )
        self._reading = tuple((re.compile(path), respond) for path, respond in reading)

    def methods(self, path: str) -> tuple[str, ...]:
        """What may be done with *path*; nothing: it is no path of ours."""
        if path in {"/ocsp", "/ocsp/"}:
            return ("POST",)
        return _READ if any(pattern.fullmatch(path) for pattern, _ in self._reading) else ()

    async def respond(self, request: Request) -> Answer:
        methods = self.methods(request.path)
        if not methods:
            return _unknown()
        if request.method not in methods:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "this is not done here", Allow=", ".join(methods))
        try:
            if request.method == "POST":
                return await self._ocsp_in_body(request)
            for pattern, respond in self._reading:
                if match := pattern.fullmatch(request.path):
                    return unless_known(await respond(match[1]), request.headers)
        except Transient:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "what is served here cannot be read now", Retry_After="1")
        return _unknown()

    async def _crl(self, issuer_id: str) -> Answer:
        if (stored := await self._documents.get(f"crl.{issuer_id}")) is None:
            return _unknown()
        particulars = self._documents.particulars(stored, _particulars_of_crl)
        return statement(stored.data, "application/pkix-crl", particulars, datetime.now(UTC))

    async def _authority(self, certificate_id: str) -> Answer:
        if (stored := await self._documents.get(f"ca.{certificate_id}")) is None:
            return _unknown()
        return _as_it_is(stored.data, "application/pkix-cert", AS_LONG_AS_IT_IS_SO)

    async def _authority_in_pkcs7(self, certificate_id: str) -> Answer:
        if (stored := await self._documents.get(f"ca.{certificate_id}")) is None:
            return _unknown()
        bundle = serialize_certificates([x509.load_der_x509_certificate(stored.data)], Encoding.DER)
        return _as_it_is(bundle, "application/pkcs7-mime; smime-type=certs-only", AS_LONG_AS_IT_IS_SO)

    async def _bundle(self, bundle_id: str) -> Answer:
        if (stored := await self._documents.get(f"bundle.{bundle_id}")) is None:
            return _unknown()
        return _as_it_is(stored.data, "application/x-pem-file", ASK_AGAIN)

    async def _bundles(self, _: str) -> Answer:
        """Every root that any bundle names, once; in the order of the bundles' ids, so that its ETag stays."""
        stored = sorted(await self._documents.under("bundle.*"), key=lambda each: each.subject)
        roots = dict.fromkeys(pem.strip() for each in stored for pem in _PEM.findall(each.data.decode()))
        if not roots:
            return _unknown()
        return _as_it_is("".join(f"{pem}\n" for pem in roots).encode(), "application/x-pem-file", ASK_AGAIN)

    async def _certificate(self, certificate_id: str) -> Answer:
        if (stored := await self._documents.get(f"certificate.{certificate_id}")) is None:
            return _unknown()
        return _as_it_is(stored.data, "application/json", ASK_AGAIN)

    async def _ocsp_in_path(self, text: str) -> Answer:
        return await self._ocsp(ocsp.from_path(text))

    async def _ocsp_in_body(self, request: Request) -> Answer:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _OCSP_REQUEST:
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"an OCSP request is {_OCSP_REQUEST}")
        return await self._ocsp(request.body)

    async def _ocsp(self, request: bytes) -> Answer:
        asked = ocsp.asked_by(request)
        if isinstance(asked, ocsp.Unsigned):
            return _unsigned(asked)
        try:
            stored = await self._documents.get(asked.key)
        except Transient:
            return _unsigned(ocsp.Unsigned.TRY_LATER)
        if stored is None:
            return _unsigned(ocsp.Unsigned.UNAUTHORIZED)
        particulars = self._documents.particulars(stored, ocsp.particulars)
        return statement(stored.data, _OCSP_RESPONSE, particulars, datetime.now(UTC))

    async def _live(self, _: str) -> Answer:
        return _plain("live")

    async def _ready(self, _: str) -> Answer:
        """Whether a document could be read now: it is tried."""
        await self._documents.get("ready")
        return _plain("ready")


def _as_it_is(body: bytes, media_type: str, cache_control: str) -> Answer:
    return document(body, media_type, Particulars(etag_of(body)), cache_control)


def _plain(text: str) -> Answer:
    return refusal(HTTPStatus.OK, text)


def _unknown() -> Answer:
    return refusal(HTTPStatus.NOT_FOUND, "there is nothing of that name")


def _unsigned(response: ocsp.Unsigned) -> Answer:
    """Anybody on the way could have written it: nobody is to keep it."""
    return Answer(HTTPStatus.OK, response.value, {"Content-Type": _OCSP_RESPONSE, "Cache-Control": NOT_TO_BE_KEPT})


def _particulars_of_crl(encoded: bytes) -> Particulars:
    crl = x509.load_der_x509_crl(encoded)
    return Particulars(etag_of(encoded), crl.last_update_utc, crl.next_update_utc)
