"""When a key may be made, used, handed on, revoked and destroyed. Pure: no clock, no randomness, no IO."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.key.authority_binding import bind
from services.key.effects import (
    Answer,
    CreateKeyPair,
    Effect,
    Outcome,
    SealKey,
    Shred,
    Sign,
)
from services.key.outcomes import conclude, taken
from services.key.states import FITTING, Active, Destroyed, Escrowed, Key, Revoked, Unborn
from shared.contracts.command import RefusalCode
from shared.contracts.key import (
    BindAuthority,
    DestroyKey,
    EscrowKey,
    ExportKey,
    GenerateKey,
    KeyCommand,
    RevokeKey,
    SignWithKey,
)
from shared.contracts.key_events import (
    AuthorityBound,
    KeyDestroyed,
    KeyEscrowed,
    KeyEvent,
    KeyExported,
    KeyGenerated,
    KeyRevoked,
    KeySigned,
)
from shared.contracts.keying import Algorithm, Purpose
from shared.decider import Context, Decider, Perform, Refused, Stands


def decide(key: Key, message: KeyCommand | Outcome, _: Context) -> Answer:
    match message:
        case GenerateKey():
            return _generate(key, message)
        case SignWithKey():
            return _sign(key, message)
        case BindAuthority():
            return bind(key, message)
        case ExportKey():
            return _export(key, message)
        case EscrowKey():
            return _escrow(key, message.key_id)
        case RevokeKey():
            return _revoke(key, message)
        case DestroyKey():
            return _destroy(key, message.key_id)
        case _:
            return conclude(message)


def evolve(key: Key, event: KeyEvent) -> Key:
    match event:
        case KeyGenerated():
            return Active(event.algorithm, event.purpose, event.exportable)
        case KeySigned() | AuthorityBound():
            return key
        case KeyExported():
            return replace(key, exported=True) if isinstance(key, Active) else key
        case KeyEscrowed():
            return Escrowed(key.algorithm, key.purpose) if isinstance(key, Active) else key
        case KeyRevoked():
            return Revoked(event.existed)
        case KeyDestroyed():
            return Destroyed()
        case _:
            assert_never(event)


def _generate(key: Key, wish: GenerateKey) -> Answer:
    agrees_only = wish.algorithm is Algorithm.X25519  # it derives shared secrets and can do nothing else (RFC 7748)
    purpose = wish.purpose or (Purpose.KEY_MANAGEMENT if agrees_only else Purpose.DIGITAL_SIGNATURE)
    if agrees_only and purpose is not Purpose.KEY_MANAGEMENT:
        return _invalid(f"an x25519 key signs nothing: its purpose can be key-management only, not {purpose}")
    if wish.exportable and purpose is Purpose.CERTIFICATE_SIGNING:
        return _not_allowed("a certificate-signing key never leaves: ask for it without exportable")
    match key:
        case Unborn():
            return Perform(CreateKeyPair(wish.key_id, wish.algorithm, purpose, wish.exportable, wish.owner, wish.label))
        case Active() | Escrowed():
            if (key.algorithm, key.purpose) == (wish.algorithm, purpose):
                return Stands()
            return taken(wish.key_id, key.algorithm, key.purpose)
        case Revoked() | Destroyed():
            return _conflict(f"key {wish.key_id} {_end_of(key)}, and an id is never used again: choose another")
        case _:
            assert_never(key)


def _sign(key: Key, wish: SignWithKey) -> Answer:
    match key:
        case Unborn():
            return _not_found(wish.key_id)
        case Active(algorithm=algorithm, purpose=purpose):
            fitting = FITTING[algorithm]
            if purpose is Purpose.KEY_MANAGEMENT:
                return _not_allowed(f"key {wish.key_id} is for key-management and signs nothing: use a signing key")
            if wish.purpose is not purpose:
                return _not_allowed(f"key {wish.key_id} is for {purpose}, not for {wish.purpose}: name its own purpose")
            if wish.signature_algorithm not in fitting:
                return _invalid(
                    f"key {wish.key_id} is {algorithm} and cannot sign with {wish.signature_algorithm}; "
                    f"what fits: {', '.join(fitting)}"
                )
            return Perform(Sign(wish.key_id, wish.message, wish.signature_algorithm, purpose))
        case Escrowed():
            return _conflict(f"key {wish.key_id} is escrowed, kept for recovery only: sign where it was exported to")
        case Revoked() | Destroyed():
            return _conflict(f"key {wish.key_id} {_end_of(key)} and signs nothing any more: use another key")
        case _:
            assert_never(key)


def _export(key: Key, wish: ExportKey) -> Answer:
    match key:
        case Unborn():
            return _not_found(wish.key_id)
        case Active(purpose=Purpose.CERTIFICATE_SIGNING):
            return _not_allowed(f"key {wish.key_id} is for certificate-signing: such a key never leaves")
        case Active(exportable=False):
            return _not_allowed(f"key {wish.key_id} is not exportable: only a key generated with exportable true is")
        case Active() | Escrowed():
            return Perform(SealKey(wish.key_id, wish.recipient_public_key))
        case Revoked() | Destroyed():
            return _conflict(f"key {wish.key_id} {_end_of(key)} and cannot be exported: only a key in use can")
        case _:
            assert_never(key)


def _escrow(key: Key, key_id: str) -> Answer:
    match key:
        case Unborn():
            return _not_found(key_id)
        case Active(purpose=purpose) if purpose is not Purpose.KEY_MANAGEMENT:
            return _not_allowed(
                f"key {key_id} is for {purpose}: only key-management keys are escrowed, for nobody else may hold "
                "a key that signs; destroy the copy here instead"
            )
        case Active(exported=False):
            return _conflict(f"key {key_id} was never exported and lives only here: export it first")
        case Active():
            return KeyEscrowed(key_id=key_id)
        case Escrowed():
            return Stands()
        case Revoked() | Destroyed():
            return _conflict(f"key {key_id} {_end_of(key)} and cannot be escrowed: only a key in use can")
        case _:
            assert_never(key)


def _revoke(key: Key, wish: RevokeKey) -> Answer:
    match key:
        case Unborn():
            if wish.void_if_absent:
                return KeyRevoked(key_id=wish.key_id, reason=wish.reason, existed=False)
            return _not_found(wish.key_id, "; to make sure that there never will be one, ask with void_if_absent")
        case Active() | Escrowed():
            return KeyRevoked(key_id=wish.key_id, reason=wish.reason)
        case Revoked() | Destroyed():
            return Stands()
        case _:
            assert_never(key)


def _destroy(key: Key, key_id: str) -> Answer:
    match key:
        case Unborn():
            return _not_found(key_id)
        case Active(exported=False):
            return _conflict(f"key {key_id} is in use and lives only here: revoke it first")
        case Active() | Escrowed() | Revoked():
            return Perform(Shred(key_id))
        case Destroyed():
            return Stands()
        case _:
            assert_never(key)


def _end_of(key: Revoked | Destroyed) -> str:
    match key:
        case Revoked(existed=True):
            return "is revoked"
        case Revoked():
            return "was voided before it existed"
        case Destroyed():
            return "was destroyed"
        case _:
            assert_never(key)


def _invalid(problem: str) -> Refused:
    return Refused(RefusalCode.INVALID, problem)


def _not_allowed(problem: str) -> Refused:
    return Refused(RefusalCode.NOT_ALLOWED, problem)


def _conflict(problem: str) -> Refused:
    return Refused(RefusalCode.CONFLICT, problem)


def _not_found(key_id: str, remedy: str = ": generate it first") -> Refused:
    return Refused(RefusalCode.NOT_FOUND, f"there is no key {key_id}{remedy}")


KEY: Decider[Key, KeyCommand, KeyEvent, Effect, Outcome] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=get_args(KeyCommand),
    events=get_args(KeyEvent),
    states=TypeAdapter(Annotated[Key, Field(discriminator="kind")]),
)
