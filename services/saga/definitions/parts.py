"""What several sagas do in the same way: have a certificate or a CRL signed, take a key or a certificate back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from services.saga.core.definition import Each, Retry, Step, Undo, child
from services.saga.core.state import Saga
from shared.contracts.certificate.commands import PublishCrl, RevokeCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateRevoked, CrlCreated
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.commands import DestroyKey, RevokeKey, SignWithKey
from shared.contracts.key.events import KeyDestroyed, KeyRevoked, KeySigned
from shared.contracts.key.value_types import Purpose
from shared.contracts.saga.maintenance import CrlPublicationCompleted, StartCrlPublication
from shared.contracts.saga.protocol import StartSaga

R = TypeVar("R", bound=StartSaga)

PATIENT = Retry(attempts=100, longest=timedelta(minutes=15))
PATIENTLY = timedelta(days=1)
"""For what nobody waits for and nothing can be undone of: a service that is away for a night is waited for."""


def sign(saga: Saga[Any], created: CertificateCreated | CrlCreated) -> SignWithKey:
    """Have what was *created* signed, with the approvals of it that were heard."""
    return SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.CERTIFICATE_SIGNING,
        approvals=saga.approvals_for(created.tbs_sha256),
    )


def publish(created: CrlCreated, signed: KeySigned) -> PublishCrl:
    return PublishCrl(certificate_id=created.certificate_id, signature=signed.signature, number=created.number)


def certificate_undone(certificate_id: Callable[[Saga[R]], str]) -> tuple[Undo[R], ...]:
    reason = RevocationReason.CESSATION_OF_OPERATION

    def revoke_certificate(saga: Saga[R]) -> RevokeCertificate:
        return RevokeCertificate(certificate_id=certificate_id(saga), reason=reason, void_if_absent=True)

    return (Undo(revoke_certificate, CertificateRevoked),)


def key_undone(key_id: Callable[[Saga[R]], str], because: str) -> tuple[Undo[R], ...]:
    def revoke_key(saga: Saga[R]) -> RevokeKey:
        return RevokeKey(key_id=key_id(saga), reason=because, void_if_absent=True)

    def destroy_key(saga: Saga[R]) -> DestroyKey:
        return DestroyKey(key_id=key_id(saga))

    return (Undo(revoke_key, KeyRevoked), Undo(destroy_key, KeyDestroyed))


def revoke_each(reason: RevocationReason, certificate_ids: Callable[[Saga[Any]], tuple[str, ...]]) -> Each[Any]:
    """Every one of these certificates, where nothing goes back: one that is revoked already is as good."""

    def revoke(_: Saga[Any], item: str) -> RevokeCertificate:
        return RevokeCertificate(certificate_id=item, reason=reason)

    step: Step[Any] = Step(revoke, CertificateRevoked, may_stand=True, within=PATIENTLY, retry=PATIENT, called="revoke")
    return Each(step, certificate_ids)


def revoke_each_key(because: str, key_ids: Callable[[Saga[Any]], tuple[str, ...]]) -> Each[Any]:
    def revoke_key(_: Saga[Any], item: str) -> RevokeKey:
        return RevokeKey(key_id=item, reason=because)

    return Each(Step(revoke_key, KeyRevoked, may_stand=True, within=PATIENTLY, retry=PATIENT), key_ids)


def publish_each_crl() -> Each[Any]:
    """A CRL of each authority that had issued what was revoked before."""

    def publish_crl(saga: Saga[Any], item: str) -> StartCrlPublication:
        return StartCrlPublication(saga_id=saga.id_of(f"crl/{item}"), issuer_id=item)

    def issuers(saga: Saga[Any]) -> tuple[str, ...]:
        revoked = (answered.event for answered in saga.answers if isinstance(answered.event, CertificateRevoked))
        return tuple(dict.fromkeys(event.issuer_id for event in revoked if event.issuer_id is not None))

    return Each(child(publish_crl, CrlPublicationCompleted), issuers)
