"""Decisions on new keys: generation, import and derivation. Pure."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TypedDict, assert_never

from services.key.crypto.nkeys import der_of
from services.key.effects import CreateKeyPair, Decision, DeriveKeyPair, ImportKeyPair, PrepareRecipient
from services.key.purposes import PURPOSE_RULES, default_purpose
from services.key.rejections import conflict, id_taken, id_used_up, invalid, not_allowed, not_found, timestamp
from services.key.states import Active, Deactivated, Destroyed, Escrowed, Key, Prepared, Rotated, Traits, Unborn, Voided
from shared.contracts.key.commands import DeriveKey, GenerateKey, ImportKey, PrepareKeyImport
from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose
from shared.decider import AlreadyDone, Context, Perform, Rejection

_RSA = (Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096)


def generate(key: Key, command: GenerateKey, context: Context) -> Decision:
    purpose = _purpose(command)
    if (rejection := _rejection(command, purpose, context)) is not None:
        return rejection
    match key:
        case Unborn():
            return Perform(CreateKeyPair(**_new_key(command, purpose)))
        case Prepared():
            return conflict(
                f"key {command.key_id} is prepared for an import or derivation: complete that, or choose another key_id"
            )
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if _matches(traits, command, purpose):
                return AlreadyDone()
            return id_taken(command.key_id, traits.algorithm, traits.purpose)
        case Deactivated() | Voided() | Destroyed():
            return id_used_up(command.key_id, key)
        case _:
            assert_never(key)


def prepare(key: Key, command: PrepareKeyImport) -> Decision:
    match key:
        case Unborn():
            return Perform(PrepareRecipient(command.key_id))
        case Prepared():
            return AlreadyDone({"recipient_public_key": key.recipient_public_key})
        case Active() | Rotated() | Escrowed():
            return conflict(f"key {command.key_id} exists: choose another key_id to import or derive a key under")
        case Deactivated() | Voided() | Destroyed():
            return id_used_up(command.key_id, key)
        case _:
            assert_never(key)


def import_key(key: Key, command: ImportKey, context: Context) -> Decision:
    purpose = _purpose(command)
    if (rejection := _rejection(command, purpose, context)) is not None:
        return rejection
    is_key_agreement = command.algorithm is Algorithm.X25519
    if is_key_agreement and command.proof is not None:
        return invalid("an x25519 key signs nothing, so it can prove nothing: leave proof out")
    if not is_key_agreement and command.proof is None:
        return invalid(
            "proof is missing: sign import_proof(key_id, recipient public key) with the key, which proves that "
            "the sender holds it"
        )
    match key:
        case Prepared():
            return Perform(
                ImportKeyPair(
                    **_new_key(command, purpose),
                    sealed_key=command.sealed_key,
                    public_key_pem=command.public_key_pem,
                    proof=command.proof,
                )
            )
        case Unborn():
            return _reject_unprepared(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            same_key = der_of(traits.public_key_pem) == der_of(command.public_key_pem)
            if same_key and traits.provenance is Provenance.IMPORTED and _matches(traits, command, purpose):
                return AlreadyDone()
            return id_taken(command.key_id, traits.algorithm, traits.purpose)
        case Deactivated() | Voided() | Destroyed():
            return id_used_up(command.key_id, key)
        case _:
            assert_never(key)


def derive(key: Key, command: DeriveKey, context: Context) -> Decision:
    purpose = _purpose(command)
    if (rejection := _rejection(command, purpose, context)) is not None:
        return rejection
    if command.algorithm in _RSA:
        return invalid(
            f"{command.algorithm} keys are not derived: no standard defines that; request an EC or Edwards key"
        )
    match key:
        case Prepared():
            return Perform(
                DeriveKeyPair(
                    **_new_key(command, purpose),
                    sealed_passphrase=command.sealed_passphrase,
                    organization=command.organization,
                    path=command.path,
                )
            )
        case Unborn():
            return _reject_unprepared(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            same_key = (traits.organization, traits.path) == (command.organization, command.path)
            if same_key and _matches(traits, command, purpose):
                return AlreadyDone()
            return id_taken(command.key_id, traits.algorithm, traits.purpose)
        case Deactivated() | Voided() | Destroyed():
            return id_used_up(command.key_id, key)
        case _:
            assert_never(key)


def recipient(raw: bytes) -> str:
    """Encodes the recipient public key in base64, as states and events store it."""
    return base64.b64encode(raw).decode()


class _NewKeyFields(TypedDict):
    key_id: str
    algorithm: Algorithm
    purpose: Purpose
    exportable: bool
    owner: str | None
    label: str | None
    owner_kind: OwnerKind | None
    expires_at: datetime | None
    approvals: int


def _new_key(command: GenerateKey | ImportKey | DeriveKey, purpose: Purpose) -> _NewKeyFields:
    """Returns the fields of `NewKey`, which all three commands have."""
    return {
        "key_id": command.key_id,
        "algorithm": command.algorithm,
        "purpose": purpose,
        "exportable": command.exportable,
        "owner": command.owner,
        "label": command.label,
        "owner_kind": command.owner_kind,
        "expires_at": command.expires_at,
        "approvals": command.approvals,
    }


def _purpose(command: GenerateKey | ImportKey | DeriveKey) -> Purpose:
    return command.purpose or default_purpose(command.algorithm)


def _rejection(command: GenerateKey | ImportKey | DeriveKey, purpose: Purpose, context: Context) -> Rejection | None:
    """Returns the rejection of a command that is wrong for every state of the key, or None."""
    rules = PURPOSE_RULES[purpose]
    if command.algorithm is Algorithm.X25519 and purpose is not Purpose.KEY_MANAGEMENT:
        return invalid(f"an x25519 key signs nothing: its purpose can be key-management only, not {purpose}")
    if command.algorithm not in rules.algorithms:
        return invalid(
            f"{command.algorithm} does not fit the purpose {purpose}; allowed: {', '.join(rules.algorithms)}"
        )
    if command.exportable and not rules.exportable:
        return not_allowed(f"a {purpose} key is never exported: request it without exportable")
    if command.approvals and not rules.approvable:
        return not_allowed(f"signatures of a {purpose} key cannot require approvals: request it without approvals")
    if command.expires_at is not None and command.expires_at <= context.at:
        return invalid(f"expires_at {timestamp(command.expires_at)} has passed: choose a later time")
    return None


def _matches(traits: Traits, command: GenerateKey | ImportKey | DeriveKey, purpose: Purpose) -> bool:
    """Compares algorithm, purpose and approvals; label and owner are not compared, because they may have changed."""
    return (traits.algorithm, traits.purpose, traits.approvals) == (command.algorithm, purpose, command.approvals)


def _reject_unprepared(key_id: str) -> Rejection:
    return not_found(
        key_id,
        ", and none was prepared: send key.prepare-import first, and seal to the recipient_public_key in its event",
    )
