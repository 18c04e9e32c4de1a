"""Performer of the certificate decider's own effects: reads other certificates, builds, assembles and encodes.

No effect changes anything, so a retry is safe. The work stays on the event loop, because two threads would issue fewer
certificates than one. The only private keys here are the throw-away ones of `tbs`.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key, pkcs7

from services.certificate.linting import lints
from services.certificate.linting.pkilint import Pkilint
from services.certificate.public_keys import SigningKey, require_signing_key
from services.certificate.signatures import verify
from services.certificate.x509.effects import (
    AttachSignature,
    BuildTbs,
    CaCertificateRead,
    CertificateAssembled,
    CertificateEffect,
    CertificateOutcome,
    CertificateRead,
    ExportRendered,
    FetchIssuer,
    FetchPredecessor,
    FetchRelated,
    IssuerFetched,
    PathIssuer,
    PredecessorFetched,
    ReadCaCertificate,
    ReadCertificate,
    RelatedFetched,
    RenderExport,
    RequestInvalid,
    SignatureInvalid,
    TbsBuilt,
)
from services.certificate.x509.parser import extract_content, issuer_limits, parse_ca_certificate, read_certificate
from services.certificate.x509.states import Certificate, CurrentCertificate, Issued, Revoked
from services.certificate.x509.tbs import build
from shared import der
from shared.contracts.certificate.commands import ExportCertificate
from shared.contracts.certificate.value_types import CertificateFormat, Profile
from shared.errors import Poison

_MAX_PATH_CERTIFICATES = 16
_PKILINT_PROFILES = frozenset({Profile.ROOT, Profile.INTERMEDIATE, Profile.TLS_SERVER, Profile.TLS_CLIENT})
"""Profiles that public relying parties use; their certificates are linted twice."""

FindSerial = Callable[[str, str], Awaitable[str | None]]
"""Finds the id of the certificate of an issuer with a serial number."""


class CertificatePerformer:
    """Performs the effects of issuance, import and export.

    Without *pkilint* only the lints of this service run; without *find_serial* imports are not checked for duplicates.
    """

    def __init__(
        self, current: CurrentCertificate, pkilint: Pkilint | None = None, find_serial: FindSerial | None = None
    ) -> None:
        self._current = current
        self._pkilint = pkilint
        self._find_serial = find_serial

    async def perform(self, effect: CertificateEffect) -> CertificateOutcome:
        match effect:
            case FetchIssuer(template=template, issuer_id=issuer_id):
                issuer = await self._current(issuer_id)
                return IssuerFetched(template, issuer, await self._path(issuer_id, issuer))
            case BuildTbs():
                return await self._build(effect)
            case FetchRelated(request=request, certificate_id=certificate_id):
                return RelatedFetched(request, await self._current(certificate_id))
            case AttachSignature():
                return _attach(effect)
            case FetchPredecessor(request=renewal):
                predecessor = await self._current(renewal.predecessor_id)
                return PredecessorFetched(renewal, predecessor, extract_content(predecessor))
            case ReadCaCertificate():
                return _read_ca_certificate(effect)
            case ReadCertificate():
                return await self._read(effect)
            case RenderExport(request=export):
                return ExportRendered(export, _encode(export, await self._chain(effect)))
            case _:
                assert_never(effect)

    async def _build(self, effect: BuildTbs) -> TbsBuilt | RequestInvalid:
        """Lints before the TBSCertificate is published in `certificate.created` (CA/B BR 4.3.1.2)."""
        draft = build(effect)
        if isinstance(draft, RequestInvalid):
            return draft
        findings = lints.lint(draft.certificate, draft.issuer)
        if not findings and self._pkilint is not None and effect.template.profile in _PKILINT_PROFILES:
            findings = await self._pkilint.lint(draft.certificate, draft.issuer)
        return RequestInvalid(f"the certificate would break rules: {'; '.join(findings)}") if findings else draft.built

    async def _read(self, effect: ReadCertificate) -> CertificateRead | RequestInvalid:
        issuer_id = effect.request.issuer_id
        read = read_certificate(effect, None if issuer_id is None else await self._current(issuer_id))
        if issuer_id is None or self._find_serial is None or isinstance(read, RequestInvalid):
            return read
        return replace(read, existing_id=await self._find_serial(issuer_id, read.serial))

    async def _path(self, issuer_id: str, issuer: Certificate) -> tuple[PathIssuer, ...]:
        path: list[PathIssuer] = []
        above: str | None = issuer_id
        while above is not None and isinstance(issuer, Issued | Revoked) and issuer.certificate_pem is not None:
            limits = issuer_limits(issuer.certificate_pem)
            path.append(
                PathIssuer(
                    certificate_id=above,
                    path_length=limits.path_length,
                    name_constraints=limits.name_constraints,
                    unsupported=limits.unsupported,
                    problem=_status_problem(issuer),
                )
            )
            above = issuer.issuer_id if len(path) < _MAX_PATH_CERTIFICATES else None
            issuer = issuer if above is None else await self._current(above)
        return tuple(path)

    async def _chain(self, effect: RenderExport) -> list[str]:
        """Returns the certificate and, if requested, its issuers up to the root or the last one stored here."""
        chain, issuer_id = [effect.certificate_pem], effect.issuer_id if effect.request.chain else None
        while issuer_id is not None and len(chain) < _MAX_PATH_CERTIFICATES:
            match await self._current(issuer_id):
                case Issued(certificate_pem=pem, issuer_id=above) | Revoked(certificate_pem=str(pem), issuer_id=above):
                    chain.append(pem)
                    issuer_id = above
                case _:
                    break
        return chain


def _status_problem(issuer: Issued | Revoked) -> str | None:
    match issuer:
        case Revoked():
            return "is revoked"
        case Issued(held=True):
            return "is on hold"
        case Issued():
            return None
        case _:
            assert_never(issuer)


def _read_ca_certificate(effect: ReadCaCertificate) -> CaCertificateRead | RequestInvalid:
    try:
        return CaCertificateRead(effect.request, parse_ca_certificate(effect.request.subject_certificate_pem))
    except ValueError as error:
        return RequestInvalid(str(error))


def _attach(effect: AttachSignature) -> CertificateAssembled | SignatureInvalid:
    """Verifies a signature and joins it with its TBSCertificate, octet for octet."""
    created, tbs = effect.created, base64.b64decode(effect.created.tbs)
    try:
        verify(_public_key(created.issuer_public_key_pem), created.signature_algorithm, effect.signature, tbs)
    except InvalidSignature:
        return SignatureInvalid(effect.certificate_id)
    encoded = der.sequence(tbs, _algorithm_identifier(tbs), der.bit_string(effect.signature))
    certificate = x509.load_der_x509_certificate(encoded)
    if certificate.tbs_certificate_bytes != tbs or f"{certificate.serial_number:x}" != created.serial:
        raise Poison(f"the assembled certificate {effect.certificate_id} differs from the signed one")
    return CertificateAssembled(effect, certificate.public_bytes(Encoding.PEM).decode(), sha256(encoded).hexdigest())


@lru_cache(maxsize=1024)
def _public_key(pem: str) -> SigningKey:
    return require_signing_key(load_pem_public_key(pem.encode()))


def _algorithm_identifier(tbs: bytes) -> bytes:
    """Copies the AlgorithmIdentifier from *tbs*: both occurrences must be the same (RFC 5280, 4.1.1.2)."""
    at = der.content(tbs)[0]
    for _ in ("version", "serialNumber"):
        at = der.content(tbs, at)[1]
    return tbs[at : der.content(tbs, at)[1]]


def _encode(request: ExportCertificate, chain: list[str]) -> str:
    match request.format:
        case CertificateFormat.PEM:
            return "".join(chain)
        case CertificateFormat.DER:
            certificate = x509.load_pem_x509_certificate(chain[0].encode())
            return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        case CertificateFormat.PKCS7:
            certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in chain]
            return base64.b64encode(pkcs7.serialize_certificates(certificates, Encoding.DER)).decode()
        case _:
            assert_never(request.format)
