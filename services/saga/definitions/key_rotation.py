"""A key gives way to another: the successor is made, certificates are issued anew for it, only then the keys change
places; after an overlap in which both are good the old certificates are revoked and the old key is archived.

Until the overlap has passed all can be undone: the rotation is cancelled and the old key stays. Where that comes too
late, the successor and its certificates are kept: there must be one of the two.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.saga.core.definition import Definition, Each, Sleep, Step, Undo, child
from services.saga.core.state import Saga
from services.saga.definitions.parts import PATIENT, PATIENTLY, key_undone
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
    wish = saga.request
    return GenerateKey(
        key_id=_successor_id(saga),
        algorithm=wish.algorithm,
        purpose=wish.purpose,
        exportable=wish.exportable,
        owner=wish.owner,
        approvals=wish.approvals,
    )


def rotate_key(saga: Rotation) -> RotateKey:
    days = saga.request.overlap_days
    return RotateKey(key_id=saga.request.key_id, successor_id=_successor_id(saga), overlap_days=days)


def cancel_rotation(saga: Rotation) -> CancelRotation:
    return CancelRotation(key_id=saga.request.key_id, reason="the rotation was undone")


def reissue(saga: Rotation, item: str) -> StartCertificateRenewal:
    """*item*: the id of a certificate for the old key."""
    return StartCertificateRenewal(
        saga_id=saga.id_of(f"renewal/{item}"),
        certificate_id=item,
        public_key_pem=saga.answer(KeyGenerated).public_key_pem,
        key_id=_successor_id(saga),
        approvals=saga.request.certificate_approvals,
    )


def overlap(saga: Rotation) -> datetime:
    """A second later than the key service's: its clock decides."""
    return saga.answer(KeyRotated).overlap_until + timedelta(seconds=1)


def complete_rotation(saga: Rotation) -> CompleteRotation:
    return CompleteRotation(key_id=saga.request.key_id)


def revoke_old(_: Rotation, item: str) -> RevokeCertificate:
    return RevokeCertificate(certificate_id=item, reason=RevocationReason.SUPERSEDED)


def archive_key(saga: Rotation) -> ArchiveKey:
    return ArchiveKey(key_id=saga.request.key_id)


def completed(saga: Rotation) -> KeyRotationSagaCompleted:
    renewed = (event for answered in saga.answers if isinstance(event := answered.event, CertificateRenewalCompleted))
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


def taken_over(saga: Rotation) -> str | None:
    """The old key's time is over, and the new one is all that there is: it is not made away with."""
    rotated = saga.find(KeyRotated) is not None or any(left.step == "rotate-key" for left in saga.left_over)
    return "it has taken the old key's place" if rotated and "rotate-key" not in saga.undone else None


_cancelled = (Undo(cancel_rotation, KeyRotationCancelled),)
_made_away_with = key_undone(_successor_id, "the rotation was undone")

# fmt: off
KEY_ROTATION = Definition(
    saga_type="key-rotation",
    request=StartKeyRotation,
    completed=completed,
    steps=(
        Step(generate_successor, KeyGenerated, undo=_made_away_with, keep=taken_over),
        Each(child(reissue,      CertificateRenewalCompleted, keep=taken_over), _certificates),
        Step(rotate_key,         KeyRotated, undo=_cancelled, within=PATIENTLY, patient=True),
        Sleep("overlap", overlap),
        Step(complete_rotation,  KeyRotationCompleted, may_stand=True, pivot=True),
        Each(Step(revoke_old,    CertificateRevoked, may_stand=True, within=PATIENTLY, retry=PATIENT), _certificates),
        Step(archive_key,        KeyArchived, may_stand=True, within=PATIENTLY, retry=PATIENT),
    ),
)
# fmt: on
