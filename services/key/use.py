"""When a key may sign, be handed on, be shown, or go into escrow. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

from services.key.effects import Answer, SealKey, Sign, SignMany, WritePublicKey
from services.key.purposes import FITTING, RULES
from services.key.rejections import conflict, day, end_of, invalid, not_allowed, not_found
from services.key.states import Active, Destroyed, Escrowed, Key, Over, Prepared, Rotated, Traits, Unborn, Voided
from shared.contracts.key.commands import EscrowKey, ExportKey, ExportPublicKey, SignBatch, SignWithKey
from shared.contracts.key.events import KeyEscrowed
from shared.contracts.key.value_types import (
    Algorithm,
    Approval,
    PrivateKeyFormat,
    PublicKeyFormat,
    Purpose,
    SignatureAlgorithm,
)
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Perform, Rejection

_NO_SSH = (Algorithm.X25519, Algorithm.ML_DSA_65)


def sign(key: Key, wish: SignWithKey, context: Context) -> Answer:
    traits = _signing(key, wish.key_id, wish.signature_algorithm, wish.purpose, context)
    if isinstance(traits, Rejection):
        return traits
    digest = sha256(wish.message).hexdigest()
    given = _people(wish.approvals, digest)
    if (missing := traits.approvals - len(given)) > 0:
        return Rejection(
            RejectionCode.NOT_ALLOWED,
            f"key {wish.key_id} signs what {traits.approvals} different people have approved by its hash: "
            f"{missing} of them {'is' if missing == 1 else 'are'} missing",
            {"message_sha256": digest, "missing": missing, "approved_by": list(given)},
        )
    return Perform(Sign(wish.key_id, wish.message, wish.signature_algorithm, wish.purpose, given))


def _people(approvals: tuple[Approval, ...], digest: str) -> tuple[str, ...]:
    """Who approved these very bytes: each person once, however they spell themselves, and by a command of their own."""
    found: dict[str, str] = {}
    commands: set[str] = set()
    for each in approvals:
        if each.message_sha256 == digest and each.command_id not in commands:
            found.setdefault(each.actor.casefold(), each.actor)
            commands.add(each.command_id)
    return tuple(found.values())


def sign_batch(key: Key, wish: SignBatch, context: Context) -> Answer:
    traits = _signing(key, wish.key_id, wish.signature_algorithm, wish.purpose, context)
    if isinstance(traits, Rejection):
        return traits
    if not RULES[traits.purpose].batches:
        return not_allowed(f"key {wish.key_id} is for {traits.purpose} and signs one thing at a time: ask key.sign")
    if traits.approvals:
        return not_allowed(f"each thing that key {wish.key_id} signs must be approved: ask key.sign for one at a time")
    return Perform(SignMany(wish.key_id, wish.messages, wish.signature_algorithm, wish.purpose))


def export(key: Key, wish: ExportKey) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            rules = RULES[traits.purpose]
            if not rules.exportable:
                return not_allowed(f"key {wish.key_id} is for {traits.purpose}: such a key never leaves")
            if not traits.exportable:
                return not_allowed(f"key {wish.key_id} is not exportable: only a key generated with exportable true is")
            if wish.format is PrivateKeyFormat.NKEY_SEED and not rules.nkey:
                return invalid(f"key {wish.key_id} is for {traits.purpose}, and only a key of NATS has an nkey-seed")
            if wish.certificates_pem and wish.format is not PrivateKeyFormat.PKCS12:
                return invalid(f"{wish.format} holds no certificates: leave them out, or ask for pkcs12")
            return Perform(SealKey(wish.key_id, wish.recipient_public_key, wish.format, wish.certificates_pem))
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)} and cannot be exported: only a key in use can")
        case _:
            assert_never(key)


def export_public(key: Key, wish: ExportPublicKey) -> Answer:
    """What is public may be known of a key that is over, too: who has old signatures needs it."""
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits) | Over(traits=traits):
            if wish.format is PublicKeyFormat.NKEY and not RULES[traits.purpose].nkey:
                return invalid(f"key {wish.key_id} is for {traits.purpose}, and only a key of NATS is written as nkey")
            if wish.format is PublicKeyFormat.SSH and traits.algorithm in _NO_SSH:
                return invalid(f"key {wish.key_id} is {traits.algorithm}, for which SSH has no form: ask for pem")
            return Perform(WritePublicKey(wish, traits.public_key_pem, traits.purpose))
        case Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)}: its public half, if it had one, is in the log")
        case _:
            assert_never(key)


def escrow(key: Key, wish: EscrowKey) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active(traits=traits, exported=exported) | Rotated(traits=traits, exported=exported):
            if not RULES[traits.purpose].escrowable:
                return not_allowed(
                    f"key {wish.key_id} is for {traits.purpose}: only key-management keys are escrowed, for nobody "
                    "else may hold a key that signs; destroy the copy here instead"
                )
            if not exported:
                return conflict(f"key {wish.key_id} was never exported and lives only here: export it first")
            return KeyEscrowed(key_id=wish.key_id)
        case Escrowed():
            return AlreadyDone()
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)} and cannot be escrowed: only a key in use can")
        case _:
            assert_never(key)


def _signing(
    key: Key, key_id: str, signature_algorithm: SignatureAlgorithm, purpose: Purpose, context: Context
) -> Traits | Rejection:
    """The key that may sign so and now, or why it may not. A time that was set for it ends it by itself."""
    match key:
        case Unborn() | Prepared():
            return not_found(key_id)
        case Active(traits=traits) | Rotated(traits=traits):
            fitting = FITTING[traits.algorithm]
            if not RULES[traits.purpose].signs:
                return not_allowed(f"key {key_id} is for {traits.purpose} and signs nothing: use a signing key")
            if purpose is not traits.purpose:
                return not_allowed(f"key {key_id} is for {traits.purpose}, not for {purpose}: name its own purpose")
            if signature_algorithm not in fitting:
                return invalid(
                    f"key {key_id} is {traits.algorithm} and cannot sign with {signature_algorithm}; "
                    f"what fits: {', '.join(fitting)}"
                )
            if traits.expires_at is not None and context.at >= traits.expires_at:
                return conflict(
                    f"key {key_id} expired on {day(traits.expires_at)} and signs nothing any more: use another key"
                )
            if isinstance(key, Rotated) and context.at >= key.overlap_until:
                return conflict(
                    f"key {key_id} was rotated and signs nothing since {day(key.overlap_until)}: use {key.successor_id}"
                )
            return traits
        case Escrowed():
            return conflict(f"key {key_id} is escrowed, kept for recovery only: sign where it was exported to")
        case Over() | Voided() | Destroyed():
            return conflict(f"key {key_id} {end_of(key)} and signs nothing any more: use another key")
        case _:
            assert_never(key)
