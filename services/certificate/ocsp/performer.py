"""Performer of the OCSP decider's effects: reads certificates and revocations, encodes and assembles responses.

No effect changes anything, so a retry is safe.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from hashlib import sha1, sha256
from typing import NamedTuple, assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from nats.js import JetStreamContext

from services.certificate.ocsp import encoding
from services.certificate.ocsp.effects import (
    AttachSignatures,
    BatchInvalid,
    BatchPlan,
    BuildResponses,
    BuiltResponse,
    CertificateStatus,
    FetchResponder,
    FetchStatuses,
    OcspEffect,
    OcspOutcome,
    ResponderFetched,
    ResponsesAssembled,
    ResponsesBuilt,
    StatusesFetched,
)
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.revocation.log import RevocationLog
from services.certificate.signatures import verify
from services.certificate.signers import signer_of
from services.certificate.views.queries import IssuedCertificate, responder_ids, unexpired_certificates
from services.certificate.x509.states import Certificate, Created, CurrentCertificate, Issued, Revoked, Unborn
from shared.contracts.certificate.ocsp import SignedOcspAnswer
from shared.contracts.rejection import RejectionCode


class OcspPerformer:
    """Performs OCSP effects.

    *current* reads the latest state of a certificate. Only *revocations* knows when a certificate was revoked.
    """

    def __init__(
        self,
        js: JetStreamContext,
        revocations: RevocationLog,
        current: CurrentCertificate,
        policy: OcspPolicy,
    ) -> None:
        self._js = js
        self._revocations = revocations
        self._current = current
        self._policy = policy

    async def perform(self, effect: OcspEffect) -> OcspOutcome:
        match effect:
            case FetchResponder():
                return await self._fetch_responder(effect)
            case FetchStatuses(plan=plan):
                fetched = await (self._fetch_named(plan) if plan.request.certificate_ids else self._fetch_page(effect))
                revoked = self._responder_problem(plan.request.issuer_id, plan.responder_id, plan.responder_serial)
                return revoked or fetched
            case BuildResponses():
                return _build(effect)
            case AttachSignatures():
                return await self._attach(effect)
            case _:
                assert_never(effect)

    async def _fetch_responder(self, effect: FetchResponder) -> ResponderFetched:
        """Loads the named responder, or the newest one that can sign: a revoked or held one is skipped."""
        request, issuer = effect.request, await self._current(effect.request.issuer_id)
        ids = (request.responder_id,) if request.responder_id else await responder_ids(self._js, request.issuer_id)
        candidates = [(each, await self._current(each)) for each in ids]
        usable = [(each, state) for each, state in candidates if _can_sign(state, effect.at)]
        chosen = next(iter(usable or candidates), None)
        return ResponderFetched(
            request=request,
            issuer=issuer,
            responder_id=None if chosen is None else chosen[0],
            responder=Unborn() if chosen is None else chosen[1],
            policy=self._policy,
        )

    async def _fetch_named(self, plan: BatchPlan) -> StatusesFetched:
        ids = tuple(dict.fromkeys(plan.request.certificate_ids))
        states = [(each, await self._current(each)) for each in ids]
        through = await self._revocations.catch_up()
        statuses = {each: self._status(plan, each, state) for each, state in states}
        return StatusesFetched(
            plan=plan,
            statuses=tuple(status for status in statuses.values() if status is not None),
            unknown=tuple(each for each in ids if statuses[each] is None),
            more_after=None,
            through=through,
        )

    async def _fetch_page(self, effect: FetchStatuses) -> StatusesFetched:
        """Reads one certificate more than the batch holds, to know whether a further page follows."""
        plan, max_certificates = effect.plan, effect.max_certificates
        found: list[tuple[IssuedCertificate, Certificate]] = []
        async with aclosing(self._candidates(plan)) as candidates:
            async for candidate in candidates:
                found.append(candidate)
                if len(found) > max_certificates:
                    break
        through = await self._revocations.catch_up()
        page = found[:max_certificates]
        statuses = (self._status(plan, listed.certificate_id, state) for listed, state in page)
        return StatusesFetched(
            plan=plan,
            statuses=tuple(each for each in statuses if each is not None),
            unknown=(),
            more_after=page[-1][0].position if len(found) > max_certificates else None,
            through=through,
        )

    async def _candidates(self, plan: BatchPlan) -> AsyncGenerator[tuple[IssuedCertificate, Certificate]]:
        request = plan.request
        async with aclosing(unexpired_certificates(self._js, request.issuer_id, request.after, plan.at)) as documents:
            async for listed in documents:
                state = await self._current(listed.certificate_id)
                if not isinstance(state, Unborn | Created):
                    yield listed, state

    def _status(self, plan: BatchPlan, certificate_id: str, state: Certificate) -> CertificateStatus | None:
        """Returns None if the issuer has no such certificate.

        The caller reads *state* before it reads the log to its end, so that the register is at least as new.
        """
        issuer_id = plan.request.issuer_id
        match state:
            case Unborn() | Created() | Revoked(serial=None):
                return None
            case Issued(serial=serial) | Revoked(serial=str() as serial):
                revocation = self._revocations.register.find(issuer_id, int(serial, 16))
                if revocation is not None:
                    return CertificateStatus(
                        certificate_id=certificate_id,
                        serial=serial,
                        revoked_at=revocation.at,
                        reason=revocation.reason,
                    )
                is_good = isinstance(state, Issued) and state.issuer_id == issuer_id
                return CertificateStatus(certificate_id=certificate_id, serial=serial) if is_good else None
            case _:
                raise AssertionError(state)

    def _responder_problem(self, issuer_id: str, responder_id: str, serial: str) -> BatchInvalid | None:
        """Stops a revoked or held responder: clients do not check its own status (RFC 6960, 4.2.2.2.1)."""
        return _unusable(responder_id) if self._revocations.register.find(issuer_id, int(serial, 16)) else None

    async def _attach(self, effect: AttachSignatures) -> ResponsesAssembled | BatchInvalid:
        batch = effect.batch
        responder = await self._current(batch.responder_id)
        await self._revocations.catch_up()
        if not isinstance(responder, Issued):
            return _unusable(batch.responder_id)
        if (revoked := self._responder_problem(batch.issuer_id, batch.responder_id, responder.serial)) is not None:
            return revoked
        key, certificate = signer_of(responder.certificate_pem).key, _der(responder.certificate_pem)
        signed = []
        for index, (unsigned, signature) in enumerate(zip(batch.answers, effect.signatures, strict=True)):
            tbs = base64.b64decode(unsigned.tbs)
            try:
                verify(key, batch.signature_algorithm, signature, tbs)
            except InvalidSignature:
                problem = (
                    f"signature {index} does not verify with the responder's public key over the tbs of its response"
                )
                return BatchInvalid(RejectionCode.INVALID, problem)
            if self._revocations.register.last_change(batch.issuer_id, int(unsigned.serial, 16)) > batch.through:
                continue  # revoked, held or released since: a newer batch has the new status, do not overwrite it
            response = encoding.response(tbs, batch.signature_algorithm, signature, certificate)
            signed.append(
                SignedOcspAnswer(serial=unsigned.serial, issuer_key_hash=unsigned.issuer_key_hash, response=response)
            )
        return ResponsesAssembled(effect, tuple(signed))


def _unusable(responder_id: str) -> BatchInvalid:
    problem = f"the responder {responder_id} is revoked or held; prepare another batch with another one"
    return BatchInvalid(RejectionCode.CONFLICT, problem)


def _can_sign(responder: Certificate, at: datetime) -> bool:
    match responder:
        case Issued(held=False, key_id=str(), not_before=begin, not_after=end):
            return begin <= at <= end
        case _:
            return False


class _Hashes(NamedTuple):
    sha_1: encoding.IssuerHashes
    sha_256: encoding.IssuerHashes


@lru_cache(maxsize=256)
def _hashes(certificate_pem: str) -> _Hashes:
    """Hashes the name and key of a certificate's subject, for a CertID that names it as the issuer."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    empty, name = ocsp.OCSPRequestBuilder(), signer_of(certificate_pem).name
    sha_1 = empty.add_certificate(certificate, certificate, hashes.SHA1()).build()  # noqa: S303 - most clients send SHA-1 CertIDs; it protects nothing
    sha_256 = empty.add_certificate(certificate, certificate, hashes.SHA256()).build()
    return _Hashes(
        encoding.sha_1(sha1(name, usedforsecurity=False).digest(), sha_1.issuer_key_hash),
        encoding.sha_256(sha256(name).digest(), sha_256.issuer_key_hash),
    )


@lru_cache(maxsize=256)
def _der(certificate_pem: str) -> bytes:
    return x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)


def _build(effect: BuildResponses) -> ResponsesBuilt:
    plan = effect.fetched.plan
    responder_key_hash = _hashes(plan.responder_certificate_pem).sha_1.key  # RFC 6960, 4.2.1: KeyHash is SHA-1
    responses = []
    for each in effect.fetched.statuses:
        status = encoding.good()
        if each.revoked_at is not None:
            status = encoding.revoked(each.revoked_at, each.reason)
        for issuer in _hashes(plan.issuer_certificate_pem):
            tbs = encoding.response_data(
                responder_key_hash,
                issuer,
                int(each.serial, 16),
                status,
                this_update=effect.this_update,
                next_update=plan.next_update,
            )
            responses.append(
                BuiltResponse(
                    certificate_id=each.certificate_id,
                    serial=each.serial,
                    issuer_key_hash=issuer.key.hex(),
                    tbs=tbs,
                )
            )
    return ResponsesBuilt(effect, tuple(responses), signer_of(plan.responder_certificate_pem).algorithm)
