"""Steps and undos that several sagas share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

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

UNATTENDED_RETRY = Retry(attempts=100, max_delay=timedelta(minutes=15))
UNATTENDED_TIMEOUT = timedelta(days=1)


class Unattended(TypedDict):
    timeout: timedelta
    retry: Retry


UNATTENDED: Unattended = {"timeout": UNATTENDED_TIMEOUT, "retry": UNATTENDED_RETRY}
"""Options of a step that runs unattended: its retries outlast a night without its service."""


def sign(saga: Saga[Any], created: CertificateCreated | CrlCreated) -> SignWithKey:
    """Builds the signing command for *created*, with the approvals that the saga has collected for it."""
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


def key_undone(key_id: Callable[[Saga[R]], str], reason: str) -> tuple[Undo[R], ...]:
    def revoke_key(saga: Saga[R]) -> RevokeKey:
        return RevokeKey(key_id=key_id(saga), reason=reason, void_if_absent=True)

    def destroy_key(saga: Saga[R]) -> DestroyKey:
        return DestroyKey(key_id=key_id(saga))

    return (Undo(revoke_key, KeyRevoked), Undo(destroy_key, KeyDestroyed))


def revoke_each(reason: RevocationReason, certificate_ids: Callable[[Saga[Any]], tuple[str, ...]]) -> Each[Any]:
    """Makes a step for each certificate; one that is revoked already counts as done."""

    def revoke(_: Saga[Any], item: str) -> RevokeCertificate:
        return RevokeCertificate(certificate_id=item, reason=reason)

    step: Step[Any] = Step(
        revoke,
        CertificateRevoked,
        already_done_ok=True,
        **UNATTENDED,
        name="revoke",
    )
    return Each(step, certificate_ids)


def revoke_each_key(reason: str, key_ids: Callable[[Saga[Any]], tuple[str, ...]]) -> Each[Any]:
    def revoke_key(_: Saga[Any], item: str) -> RevokeKey:
        return RevokeKey(key_id=item, reason=reason)

    return Each(Step(revoke_key, KeyRevoked, already_done_ok=True, **UNATTENDED), key_ids)


def publish_each_crl() -> Each[Any]:
    """Makes a child saga for each issuer of the certificates that were revoked before."""

    def publish_crl(saga: Saga[Any], item: str) -> StartCrlPublication:
        return StartCrlPublication(saga_id=saga.id_of(f"crl/{item}"), issuer_id=item)

    def issuers(saga: Saga[Any]) -> tuple[str, ...]:
        revoked = (outcome.event for outcome in saga.outcomes if isinstance(outcome.event, CertificateRevoked))
        return tuple(dict.fromkeys(event.issuer_id for event in revoked if event.issuer_id is not None))

    return Each(child(publish_crl, CrlPublicationCompleted), issuers)
