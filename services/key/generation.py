"""When a key may come to be: generated, imported, or derived. Pure."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import assert_never

from services.key.crypto.nkeys import der_of
from services.key.effects import Answer
from services.key.origins import CreateKeyPair, DeriveKeyPair, PrepareRecipient, TakeOver
from services.key.purposes import RULES, usual_purpose
from services.key.rejections import conflict, day, invalid, never_again, not_allowed, not_found, taken
from services.key.states import Active, Destroyed, Escrowed, Key, Over, Prepared, Rotated, Traits, Unborn, Voided
from shared.contracts.key.commands import DeriveKey, GenerateKey, ImportKey, PrepareKeyImport
from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose
from shared.decider import AlreadyDone, Context, Perform, Rejection

_OF_RSA = (Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096)


def generate(key: Key, wish: GenerateKey, context: Context) -> Answer:
    purpose = _purpose_of(wish)
    if (refusal := _unfit(wish, purpose, context)) is not None:
        return refusal
    match key:
        case Unborn():
            return Perform(CreateKeyPair(*_said(wish, purpose)))
        case Prepared():
            return conflict(
                f"key {wish.key_id} is prepared to be imported or derived: do that, or choose another key_id"
            )
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if _is_as_asked(traits, wish, purpose):
                return AlreadyDone()
            return taken(wish.key_id, traits.algorithm, traits.purpose)
        case Over() | Voided() | Destroyed():
            return never_again(wish.key_id, key)
        case _:
            assert_never(key)


def prepare(key: Key, wish: PrepareKeyImport) -> Answer:
    match key:
        case Unborn():
            return Perform(PrepareRecipient(wish.key_id))
        case Prepared():
            return AlreadyDone({"recipient_public_key": key.recipient_public_key})
        case Active() | Rotated() | Escrowed():
            return conflict(f"key {wish.key_id} exists: choose another key_id to import or derive a key under")
        case Over() | Voided() | Destroyed():
            return never_again(wish.key_id, key)
        case _:
            assert_never(key)


def take_over(key: Key, wish: ImportKey, context: Context) -> Answer:
    purpose = _purpose_of(wish)
    if (refusal := _unfit(wish, purpose, context)) is not None:
        return refusal
    agrees_only = wish.algorithm is Algorithm.X25519
    if agrees_only and wish.proof is not None:
        return invalid("an x25519 key signs nothing, so it can prove nothing: leave proof out")
    if not agrees_only and wish.proof is None:
        return invalid(
            "proof is missing: sign import_proof(key_id, recipient public key) with the key, so that it is known that "
            "who sends it has it"
        )
    match key:
        case Prepared():
            return Perform(
                TakeOver(
                    *_said(wish, purpose),
                    sealed_key=wish.sealed_key,
                    public_key_pem=wish.public_key_pem,
                    proof=wish.proof,
                )
            )
        case Unborn():
            return _unprepared(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            same_key = der_of(traits.public_key_pem) == der_of(wish.public_key_pem)
            if same_key and traits.provenance is Provenance.IMPORTED and _is_as_asked(traits, wish, purpose):
                return AlreadyDone()
            return taken(wish.key_id, traits.algorithm, traits.purpose)
        case Over() | Voided() | Destroyed():
            return never_again(wish.key_id, key)
        case _:
            assert_never(key)


def derive(key: Key, wish: DeriveKey, context: Context) -> Answer:
    purpose = _purpose_of(wish)
    if (refusal := _unfit(wish, purpose, context)) is not None:
        return refusal
    if wish.algorithm in _OF_RSA:
        return invalid(f"{wish.algorithm} keys are not derived: no standard says how; ask for an EC or Edwards key")
    match key:
        case Prepared():
            return Perform(
                DeriveKeyPair(
                    *_said(wish, purpose),
                    sealed_passphrase=wish.sealed_passphrase,
                    organization=wish.organization,
                    path=wish.path,
                )
            )
        case Unborn():
            return _unprepared(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            same_key = (traits.organization, traits.path) == (wish.organization, wish.path)
            if same_key and _is_as_asked(traits, wish, purpose):
                return AlreadyDone()
            return taken(wish.key_id, traits.algorithm, traits.purpose)
        case Over() | Voided() | Destroyed():
            return never_again(wish.key_id, key)
        case _:
            assert_never(key)


def recipient(raw: bytes) -> str:
    """How a state holds the key that was prepared: as the event shows it."""
    return base64.b64encode(raw).decode()


def _said(
    wish: GenerateKey | ImportKey | DeriveKey, purpose: Purpose
) -> tuple[str, Algorithm, Purpose, bool, str | None, str | None, OwnerKind | None, datetime | None, int]:
    """What is said of a key however it comes to be, in the order of NewKey."""
    owner, until = (wish.owner, wish.label, wish.owner_kind), wish.expires_at
    return wish.key_id, wish.algorithm, purpose, wish.exportable, *owner, until, wish.approvals


def _purpose_of(wish: GenerateKey | ImportKey | DeriveKey) -> Purpose:
    return wish.purpose or usual_purpose(wish.algorithm)


def _unfit(wish: GenerateKey | ImportKey | DeriveKey, purpose: Purpose, context: Context) -> Rejection | None:
    """What is wrong with the wish itself, whatever stands."""
    rules = RULES[purpose]
    if wish.algorithm is Algorithm.X25519 and purpose is not Purpose.KEY_MANAGEMENT:
        return invalid(f"an x25519 key signs nothing: its purpose can be key-management only, not {purpose}")
    if wish.algorithm not in rules.algorithms:
        return invalid(f"{wish.algorithm} does not fit the purpose {purpose}; what fits: {', '.join(rules.algorithms)}")
    if wish.exportable and not rules.exportable:
        return not_allowed(f"a {purpose} key never leaves: ask for it without exportable")
    if wish.approvals and not rules.approvable:
        return not_allowed(f"what a {purpose} key does is not approved one by one: ask for it without approvals")
    if wish.expires_at is not None and wish.expires_at <= context.at:
        return invalid(f"expires_at {day(wish.expires_at)} has passed already: choose a time to come")
    return None


def _is_as_asked(traits: Traits, wish: GenerateKey | ImportKey | DeriveKey, purpose: Purpose) -> bool:
    """What a key does, and for whom it must wait; labels and owners may have changed since."""
    return (traits.algorithm, traits.purpose, traits.approvals) == (wish.algorithm, purpose, wish.approvals)


def _unprepared(key_id: str) -> Rejection:
    return not_found(key_id, ", and none was prepared: ask key.prepare-import first, and seal to the key that it tells")
