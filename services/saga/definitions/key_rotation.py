"""Rotates a key: generates a successor, reissues the certificates for it, and then makes it the current key.

After an overlap, in which both keys are valid, the old certificates are revoked and the old key is archived. Until the
end of the overlap everything can be undone. If cancelling comes too late, the successor and its certificates are kept,
since one of the two keys must remain.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.saga.core.definition import Definition, Each, Sleep, Step, Undo, child
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT, key_undone
from shared.contracts.certificate.commands import RevokeCertificate
from shared.contracts.certificate.events import CertificateRevoked
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.commands import ArchiveKey, CancelRotation, CompleteRotation, GenerateKey, RotateKey
from shared.contracts.key.events import (
    KeyArchived,
    KeyGenerated,
    KeyRotated,
    KeyRotationCancelled,
    KeyRotationCompleted,
)
from shared.contracts.saga.certificates import CertificateRenewalCompleted, StartCertificateRenewal
from shared.contracts.saga.keys import KeyRotationSagaCompleted, StartKeyRotation

Rotation = Saga[StartKeyRotation]


def generate_successor(saga: Rotation) -> GenerateKey:
    request = saga.request
    return GenerateKey(
        key_id=_successor_id(saga),
        algorithm=request.algorithm,
        purpose=request.purpose,
        exportable=request.exportable,
        owner=request.owner,
        approvals=request.approvals,
    )


def rotate_key(saga: Rotation) -> RotateKey:
    days = saga.request.overlap_days
    return RotateKey(key_id=saga.request.key_id, successor_id=_successor_id(saga), overlap_days=days)


def cancel_rotation(saga: Rotation) -> CancelRotation:
    return CancelRotation(key_id=saga.request.key_id, reason="the rotation was undone")


def reissue(saga: Rotation, item: str) -> StartCertificateRenewal:
    """Renews certificate *item*, which is for the old key."""
    return StartCertificateRenewal(
        saga_id=saga.id_of(f"renewal/{item}"),
        certificate_id=item,
        public_key_pem=saga.outcome(KeyGenerated).public_key_pem,
        key_id=_successor_id(saga),
        approvals=saga.request.certificate_approvals,
    )


def overlap_end(saga: Rotation) -> datetime:
    """Returns the end of the overlap, a second late: the clock of the key service decides."""
    return saga.outcome(KeyRotated).overlap_until + timedelta(seconds=1)


def complete_rotation(saga: Rotation) -> CompleteRotation:
    return CompleteRotation(key_id=saga.request.key_id)


def revoke_old(_: Rotation, item: str) -> RevokeCertificate:
    return RevokeCertificate(certificate_id=item, reason=RevocationReason.SUPERSEDED)


def archive_key(saga: Rotation) -> ArchiveKey:
    return ArchiveKey(key_id=saga.request.key_id)


def completed(saga: Rotation) -> KeyRotationSagaCompleted:
    renewed = (event for outcome in saga.outcomes if isinstance(event := outcome.event, CertificateRenewalCompleted))
    return KeyRotationSagaCompleted(
        **saga.heading,
        key_id=saga.request.key_id,
        successor_id=_successor_id(saga),
        certificate_ids=tuple(event.certificate_id for event in renewed),
    )


def _successor_id(saga: Rotation) -> str:
    return saga.id_of("successor")


def _certificates(saga: Rotation) -> tuple[str, ...]:
    return saga.request.certificate_ids


def keep_current_key(saga: Rotation) -> str | None:
    """Returns why the successor is kept: the rotation could not be cancelled, so it is the only valid key."""
    rotated = saga.find(KeyRotated) is not None or any(left.step == "rotate-key" for left in saga.left_over)
    return "it has taken the old key's place" if rotated and "rotate-key" not in saga.undone else None


_cancelled = (Undo(cancel_rotation, KeyRotationCancelled),)
_successor_undone = key_undone(_successor_id, "the rotation was undone")

# fmt: off
KEY_ROTATION = Definition(
    saga_type="key-rotation",
    request=StartKeyRotation,
    completed=completed,
    steps=(
        Step(generate_successor, KeyGenerated, undo=_successor_undone, keep=keep_current_key),
        Each(child(reissue,      CertificateRenewalCompleted, keep=keep_current_key), _certificates),
        Step(rotate_key,         KeyRotated, undo=_cancelled, timeout=UNATTENDED_TIMEOUT, patient=True),
        Sleep("overlap", overlap_end),
        Step(complete_rotation,  KeyRotationCompleted, already_done_ok=True, pivot=True),
        Each(Step(revoke_old,    CertificateRevoked, already_done_ok=True, **UNATTENDED), _certificates),
        Step(archive_key,        KeyArchived, already_done_ok=True, **UNATTENDED),
    ),
)
# fmt: on
