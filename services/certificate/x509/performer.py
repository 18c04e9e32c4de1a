"""The certificates themselves: performs what the core asks for. It meets no private key but those nobody relies on.

Every effect only reads and computes: performed twice, the world is the same. It all runs on the event loop, where two
threads would issue less than one (facts.md).
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import assert_never

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from services.certificate.linting import lints
from services.certificate.linting.pkilint import Pkilint
from services.certificate.x509.assembly import attach
from services.certificate.x509.effects import (
    AttachSignature,
    Authority,
    AuthorityRead,
    BuildTbs,
    FetchIssuer,
    FetchOther,
    FetchPredecessor,
    IssuanceEffect,
    IssuanceOutcome,
    IssuerFetched,
    OtherFetched,
    PredecessorFetched,
    ReadAuthority,
    ReadCertificate,
    Render,
    Rendered,
    RequestUnfit,
    TbsBuilt,
)
from services.certificate.x509.parser import another_authority, authority_in, said_of, taken_over
from services.certificate.x509.states import Certificate, Issued, Revoked
from services.certificate.x509.tbs import build
from shared.contracts.certificate.commands import CrossCertify, ExportCertificate
from shared.contracts.certificate.value_types import CertificateFormat, Profile

_LONGEST_PATH = 16
_READ_TWICE = frozenset({Profile.ROOT, Profile.INTERMEDIATE, Profile.TLS_SERVER, Profile.TLS_CLIENT})
Current = Callable[[str], Awaitable[Certificate]]
Known = Callable[[str, str], Awaitable[str | None]]
"""The id of the certificate that an issuer gave a serial number; None: it is not known here."""


class Issuance:
    """Performs the effects of the certificate decider; *current* tells where another certificate stands now.

    *known* tells what is here already; *pkilint*: the second reader of what relying parties outside depend on. Without
    the one nothing is, without the other only our own rules are held up to what is built.
    """

    def __init__(self, current: Current, pkilint: Pkilint | None = None, known: Known | None = None) -> None:
        self._current = current
        self._pkilint = pkilint
        self._known = known or _nobody

    async def perform(self, effect: IssuanceEffect) -> IssuanceOutcome:
        match effect:
            case FetchIssuer(wanted=wanted, issuer_id=issuer_id):
                issuer = await self._current(issuer_id)
                return IssuerFetched(wanted, issuer, await self._path(issuer_id, issuer))
            case BuildTbs():
                return await self._built(effect)
            case FetchOther(request=request, certificate_id=certificate_id):
                return OtherFetched(request, await self._current(certificate_id))
            case AttachSignature():
                return attach(effect)
            case FetchPredecessor(request=renewal):
                predecessor = await self._current(renewal.predecessor_id)
                return PredecessorFetched(renewal, predecessor, said_of(predecessor))
            case ReadAuthority(request=cross):
                return _authority_read(cross)
            case ReadCertificate(request=taken):
                by = taken.issuer_id
                read = taken_over(effect, None if by is None else await self._current(by))
                if by is None or isinstance(read, RequestUnfit):
                    return read
                return replace(read, known_as=await self._known(by, read.serial))
            case Render(request=export):
                return Rendered(export, _content(export, await self._chain(effect)))
            case _:
                assert_never(effect)

    async def _built(self, plan: BuildTbs) -> TbsBuilt | RequestUnfit:
        """What is built here is told in `certificate.created` next, so it is judged here: CA/B BR 4.3.1.2."""
        draft = build(plan)
        if isinstance(draft, RequestUnfit):
            return draft
        found = lints.lint(draft.certificate, draft.issuer)
        if not found and self._pkilint is not None and plan.wanted.profile in _READ_TWICE:
            found = await self._pkilint.lint(draft.certificate, draft.issuer)
        return RequestUnfit(f"it would be wrong: {'; '.join(found)}") if found else draft.built

    async def _path(self, issuer_id: str, issuer: Certificate) -> tuple[Authority, ...]:
        path: list[Authority] = []
        above: str | None = issuer_id
        while above is not None and isinstance(issuer, Issued | Revoked) and issuer.certificate_pem is not None:
            path.append(Authority(above, *authority_in(issuer.certificate_pem), _fault(issuer)))
            above = issuer.issuer_id if len(path) < _LONGEST_PATH else None
            issuer = issuer if above is None else await self._current(above)
        return tuple(path)

    async def _chain(self, plan: Render) -> list[str]:
        """Beginning with the certificate; it ends with the root, or with the last that is known here."""
        chain, issuer_id = [plan.certificate_pem], plan.issuer_id if plan.request.chain else None
        while issuer_id is not None and len(chain) < _LONGEST_PATH:
            match await self._current(issuer_id):
                case Issued(certificate_pem=pem, issuer_id=above) | Revoked(certificate_pem=str(pem), issuer_id=above):
                    chain.append(pem)
                    issuer_id = above
                case _:
                    break
        return chain


def _fault(issuer: Issued | Revoked) -> str | None:
    match issuer:
        case Revoked():
            return "is revoked"
        case Issued(held=True):
            return "is on hold"
        case Issued():
            return None
        case _:
            assert_never(issuer)


def _authority_read(request: CrossCertify) -> AuthorityRead | RequestUnfit:
    try:
        return AuthorityRead(request, another_authority(request.subject_certificate_pem))
    except ValueError as error:
        return RequestUnfit(str(error))


def _content(request: ExportCertificate, chain: list[str]) -> str:
    match request.format:
        case CertificateFormat.PEM:
            return "".join(chain)
        case CertificateFormat.DER:
            return base64.b64encode(
                x509.load_pem_x509_certificate(chain[0].encode()).public_bytes(Encoding.DER)
            ).decode()
        case CertificateFormat.PKCS7:
            certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in chain]
            return base64.b64encode(pkcs7.serialize_certificates(certificates, Encoding.DER)).decode()
        case _:
            assert_never(request.format)


async def _nobody(_: str, __: str) -> str | None:
    return None
