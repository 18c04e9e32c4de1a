"""CRLs themselves: performs what the core asks for when one is made. Every effect only reads and computes."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from services.certificate.crl.effects import (
    AttachCrlSignature,
    BuildCrl,
    CrlAssembled,
    CrlBuilt,
    CrlEffect,
    CrlOutcome,
    CrlSignatureWrong,
    GatherRevocations,
    RevocationsGathered,
)
from services.certificate.der import signed, tbs_cert_list
from services.certificate.profiles import CrlProfile
from services.certificate.revocation.log import RevocationLog
from services.certificate.signatures import verify
from services.certificate.signers import signer_of
from services.certificate.x509.states import Certificate, Issued, Revoked
from shared.errors import Poison

Current = Callable[[str], Awaitable[Certificate]]


class CrlBuilding:
    """*current* tells where a certificate stands now; *policy*, what an issuer's CRLs are to be like."""

    def __init__(self, revocations: RevocationLog, current: Current, policy: Callable[[str], CrlProfile]) -> None:
        self._revocations = revocations
        self._current = current
        self._policy = policy

    async def perform(self, effect: CrlEffect) -> CrlOutcome:
        match effect:
            case GatherRevocations():
                return await self._gather(effect)
            case BuildCrl():
                return _build(effect)
            case AttachCrlSignature():
                return _attach(effect, self._policy(effect.issuer_id))
            case _:
                assert_never(effect)

    async def _gather(self, asked: GatherRevocations) -> RevocationsGathered:
        await self._revocations.catch_up()
        ids = await self._same_authority(asked)
        register = self._revocations.register
        return RevocationsGathered(
            asked,
            register.last_sequence,
            max(register.last_change(each) for each in ids),
            tuple(revocation for each in ids for revocation in register.entries_of(each)),
            self._policy(asked.issuer_id),
        )

    async def _same_authority(self, asked: GatherRevocations) -> list[str]:
        """All certificates of this name and key. To whoever reads a CRL they are one issuer (RFC 5280, 6.3.3): a
        renewed authority's CRL that left out what the one before had issued would make that good again."""
        name, ids = signer_of(asked.issuer.certificate_pem).name, [asked.issuer_id]
        for each in self._revocations.register.issuers():
            if each != asked.issuer_id:
                match await self._current(each):
                    case (
                        Issued(key_id=asked.key_id, certificate_pem=pem)
                        | Revoked(key_id=asked.key_id, certificate_pem=str(pem))
                    ) if signer_of(pem).name == name:
                        ids.append(each)
        return ids


def _build(plan: BuildCrl) -> CrlBuilt:
    issuer = signer_of(plan.issuer_certificate_pem)
    tbs = tbs_cert_list(
        issuer.algorithm,
        issuer_name=issuer.name,
        this_update=plan.this_update,
        next_update=plan.next_update,
        entries=[each.encoded for each in plan.revocations],
        key_identifier=issuer.key_identifier,
        number=plan.number,
    )
    return CrlBuilt(plan, tbs, issuer.algorithm)


def _attach(plan: AttachCrlSignature, policy: CrlProfile) -> CrlAssembled | CrlSignatureWrong:
    tbs, algorithm = base64.b64decode(plan.crl.tbs), plan.crl.signature_algorithm
    try:
        verify(signer_of(plan.issuer_certificate_pem).key, algorithm, plan.signature, tbs)
    except InvalidSignature:
        return CrlSignatureWrong(plan)
    encoded = signed(tbs, algorithm, plan.signature)
    crl = x509.load_der_x509_crl(encoded)
    if crl.signature != plan.signature or len(crl) != plan.crl.entries:
        raise Poison(f"what was assembled of CRL {plan.crl.number} of {plan.issuer_id} is not what was signed")
    return CrlAssembled(plan, _pem(encoded), sha256(encoded).hexdigest(), policy)


def _pem(encoded: bytes) -> str:
    """RFC 7468. cryptography would write each of ten thousand entries anew for it: 40 ms instead of 2."""
    text = base64.b64encode(encoded).decode()
    lines = (text[at : at + 64] for at in range(0, len(text), 64))
    return "\n".join(("-----BEGIN X509 CRL-----", *lines, "-----END X509 CRL-----", ""))
