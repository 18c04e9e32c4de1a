"""The key aggregate: `decide` dispatches commands and effect results, `evolve` folds events. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.key import generation, lifecycle, use
from services.key.effects import Decision, Effect, Outcome, SuccessorFetched
from services.key.outcomes import decide_on_result
from services.key.states import (
    Active,
    Deactivated,
    DeactivationReason,
    Destroyed,
    Escrowed,
    Key,
    Prepared,
    Rotated,
    Traits,
    Unborn,
    Voided,
)
from shared.contracts.key.commands import (
    ArchiveKey,
    BindAuthority,
    CancelRotation,
    CompleteRotation,
    DeriveKey,
    DestroyKey,
    EscrowKey,
    ExpireKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    ImportKey,
    KeyCommand,
    PrepareKeyImport,
    RevokeKey,
    RotateKey,
    SignBatch,
    SignWithKey,
    TransferKey,
)
from shared.contracts.key.events import (
    AuthorityBound,
    KeyArchived,
    KeyBatchSigned,
    KeyDestroyed,
    KeyEscrowed,
    KeyEvent,
    KeyExpired,
    KeyExported,
    KeyGenerated,
    KeyImported,
    KeyImportPrepared,
    KeyRevoked,
    KeyRotated,
    KeyRotationCancelled,
    KeyRotationCompleted,
    KeySigned,
    KeyTransferred,
    PublicKeyExported,
)
from shared.decider import Context, Decider


def decide(key: Key, message: KeyCommand | Outcome, context: Context) -> Decision:  # noqa: C901, PLR0912 - one case a command
    match message:
        case GenerateKey():
            return generation.generate(key, message, context)
        case PrepareKeyImport():
            return generation.prepare(key, message)
        case ImportKey():
            return generation.import_key(key, message, context)
        case DeriveKey():
            return generation.derive(key, message, context)
        case SignWithKey():
            return use.sign(key, message, context)
        case SignBatch():
            return use.sign_batch(key, message, context)
        case ExportKey():
            return use.export(key, message)
        case ExportPublicKey():
            return use.export_public(key, message)
        case EscrowKey():
            return use.escrow(key, message)
        case BindAuthority():
            return use.bind(key, message)
        case RotateKey():
            return lifecycle.rotate(key, message)
        case SuccessorFetched():
            return lifecycle.rotate_to(key, message.request, message.successor, context)
        case CompleteRotation():
            return lifecycle.complete_rotation(key, message, context)
        case CancelRotation():
            return lifecycle.cancel_rotation(key, message)
        case ExpireKey():
            return lifecycle.expire(key, message, context)
        case RevokeKey():
            return lifecycle.revoke(key, message)
        case ArchiveKey():
            return lifecycle.archive(key, message)
        case TransferKey():
            return lifecycle.transfer(key, message)
        case DestroyKey():
            return lifecycle.destroy(key, message)
        case _:
            return decide_on_result(message)


def evolve(key: Key, event: KeyEvent) -> Key:  # noqa: C901, PLR0912 - one case an event
    match event:
        case KeyGenerated() | KeyImported():
            return Active(_traits(event))
        case KeyImportPrepared():
            return Prepared(generation.recipient(event.recipient_public_key))
        case KeySigned() | KeyBatchSigned() | PublicKeyExported() | AuthorityBound():
            return key
        case KeyExported():
            return replace(key, exported=True) if isinstance(key, Active | Rotated) else key
        case KeyEscrowed():
            return Escrowed(key.traits) if isinstance(key, Active | Rotated) else key
        case KeyRotated():
            if isinstance(key, Active):
                return Rotated(
                    traits=key.traits,
                    successor_id=event.successor_id,
                    overlap_until=event.overlap_until,
                    exported=key.exported,
                )
            return key
        case KeyRotationCancelled():
            return Active(key.traits, key.exported) if isinstance(key, Rotated) else key
        case KeyTransferred():
            return _transfer(key, event)
        case KeyRevoked(existed=False):
            return Voided()
        case KeyRotationCompleted():
            return _deactivate(key, DeactivationReason.ROTATION_COMPLETED)
        case KeyExpired():
            return _deactivate(key, DeactivationReason.EXPIRED)
        case KeyRevoked():
            return _deactivate(key, DeactivationReason.REVOKED)
        case KeyArchived():
            return _deactivate(key, DeactivationReason.ARCHIVED)
        case KeyDestroyed():
            return Destroyed()
        case _:
            assert_never(event)


def _traits(event: KeyGenerated | KeyImported) -> Traits:
    derivation = event.derivation if isinstance(event, KeyGenerated) else None
    return Traits(
        algorithm=event.algorithm,
        purpose=event.purpose,
        public_key_pem=event.public_key_pem,
        exportable=event.exportable,
        owner=event.owner,
        owner_kind=event.owner_kind,
        expires_at=event.expires_at,
        approvals=event.approvals,
        provenance=event.provenance,
        organization=derivation.organization if derivation else None,
        path=derivation.path if derivation else None,
    )


def _deactivate(key: Key, end: DeactivationReason) -> Key:
    """Deactivates a key. An absent or destroyed key is not changed: `decide` produces no such history."""
    match key:
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits) | Deactivated(traits=traits):
            return Deactivated(traits, end)
        case Unborn() | Prepared() | Voided() | Destroyed():
            return key
        case _:
            assert_never(key)


def _transfer(key: Key, event: KeyTransferred) -> Key:
    if isinstance(key, Active | Rotated | Escrowed):
        return replace(key, traits=replace(key.traits, owner=event.to_owner, owner_kind=event.to_owner_kind))
    return key


KEY: Decider[Key, KeyCommand, KeyEvent, Effect, Outcome] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=get_args(KeyCommand),
    events=get_args(KeyEvent),
    states=TypeAdapter(Annotated[Key, Field(discriminator="kind")]),
    state_version=2,
)
