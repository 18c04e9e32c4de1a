"""Decisions on the use of a key: signing, export, escrow, and binding to a CA certificate. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

from services.key.effects import (
    BindCertificate,
    CaCertificateInvalid,
    CaCertificateRegistered,
    Decision,
    FormatPublicKey,
    SealPrivateKey,
    Sign,
    SignMessages,
)
from services.key.purposes import PURPOSE_RULES, SIGNATURE_ALGORITHMS
from services.key.rejections import conflict, invalid, not_allowed, not_found, terminal_phrase, timestamp
from services.key.states import Active, Deactivated, Destroyed, Escrowed, Key, Prepared, Rotated, Traits, Unborn, Voided
from shared.contracts.key.commands import BindAuthority, EscrowKey, ExportKey, ExportPublicKey, SignBatch, SignWithKey
from shared.contracts.key.events import AuthorityBound, KeyEscrowed
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

_WITHOUT_SSH_FORMAT = (Algorithm.X25519, Algorithm.ML_DSA_65)


def sign(key: Key, command: SignWithKey, context: Context) -> Decision:
    traits = _require_signing_key(key, command.key_id, command.signature_algorithm, command.purpose, context)
    if isinstance(traits, Rejection):
        return traits
    digest = sha256(command.message).hexdigest()
    approvers = _approvers(command.approvals, digest)
    if (missing := traits.approvals - len(approvers)) > 0:
        return Rejection(
            RejectionCode.NOT_ALLOWED,
            f"key {command.key_id} needs the approval of {traits.approvals} different people for the hash of "
            f"the message: "
            f"{missing} of them {'is' if missing == 1 else 'are'} missing",
            details={"message_sha256": digest, "missing": missing, "approved_by": list(approvers)},
        )
    return Perform(
        Sign(
            key_id=command.key_id,
            message=command.message,
            signature_algorithm=command.signature_algorithm,
            purpose=command.purpose,
            approved_by=approvers,
        )
    )


def _approvers(approvals: tuple[Approval, ...], digest: str) -> tuple[str, ...]:
    """Returns the distinct actors that approved *digest*. Case does not distinguish actors; a command counts once."""
    found: dict[str, str] = {}
    commands: set[str] = set()
    for approval in approvals:
        if approval.message_sha256 == digest and approval.command_id not in commands:
            found.setdefault(approval.actor.casefold(), approval.actor)
            commands.add(approval.command_id)
    return tuple(found.values())


def sign_batch(key: Key, command: SignBatch, context: Context) -> Decision:
    traits = _require_signing_key(key, command.key_id, command.signature_algorithm, command.purpose, context)
    if isinstance(traits, Rejection):
        return traits
    if not PURPOSE_RULES[traits.purpose].batches:
        return not_allowed(
            f"key {command.key_id} is for {traits.purpose} and signs one message at a time: use key.sign"
        )
    if traits.approvals:
        return not_allowed(
            f"every message of key {command.key_id} needs approvals: use key.sign, one message at a time"
        )
    return Perform(
        SignMessages(
            key_id=command.key_id,
            messages=command.messages,
            signature_algorithm=command.signature_algorithm,
            purpose=command.purpose,
        )
    )


def export(key: Key, command: ExportKey) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            rules = PURPOSE_RULES[traits.purpose]
            if not rules.exportable:
                return not_allowed(f"key {command.key_id} is for {traits.purpose}, and such a key is never exported")
            if not traits.exportable:
                return not_allowed(
                    f"key {command.key_id} is not exportable: only a key generated with exportable true is"
                )
            if command.format is PrivateKeyFormat.NKEY_SEED and not rules.nkey:
                return invalid(f"key {command.key_id} is for {traits.purpose}, and only a NATS key has an nkey-seed")
            if command.certificates_pem and command.format is not PrivateKeyFormat.PKCS12:
                return invalid(f"{command.format} holds no certificates: leave them out, or request pkcs12")
            return Perform(
                SealPrivateKey(
                    key_id=command.key_id,
                    recipient_public_key=command.recipient_public_key,
                    format=command.format,
                    certificates_pem=command.certificates_pem,
                )
            )
        case Deactivated() | Voided() | Destroyed():
            return conflict(
                f"key {command.key_id} {terminal_phrase(key)} and cannot be exported: only a key in use can"
            )
        case _:
            assert_never(key)


def export_public(key: Key, command: ExportPublicKey) -> Decision:
    """Exports also the public key of a deactivated key, which verifies old signatures."""
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits) | Deactivated(traits=traits):
            if command.format is PublicKeyFormat.NKEY and not PURPOSE_RULES[traits.purpose].nkey:
                return invalid(f"key {command.key_id} is for {traits.purpose}, and only a NATS key has the format nkey")
            if command.format is PublicKeyFormat.SSH and traits.algorithm in _WITHOUT_SSH_FORMAT:
                return invalid(
                    f"key {command.key_id} is {traits.algorithm}, for which OpenSSH has no format: request pem"
                )
            return Perform(FormatPublicKey(command, traits.public_key_pem, traits.purpose))
        case Voided() | Destroyed():
            return conflict(
                f"key {command.key_id} {terminal_phrase(key)}: its public key, if it had one, is in the log"
            )
        case _:
            assert_never(key)


def escrow(key: Key, command: EscrowKey) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active(traits=traits, exported=exported) | Rotated(traits=traits, exported=exported):
            if not PURPOSE_RULES[traits.purpose].escrowable:
                return not_allowed(
                    f"key {command.key_id} is for {traits.purpose}: only key-management keys are escrowed, because "
                    "a signing key must have one holder; destroy this copy instead"
                )
            if not exported:
                return conflict(f"key {command.key_id} was never exported and has no other copy: export it first")
            return KeyEscrowed(key_id=command.key_id)
        case Escrowed():
            return AlreadyDone()
        case Deactivated() | Voided() | Destroyed():
            return conflict(
                f"key {command.key_id} {terminal_phrase(key)} and cannot be escrowed: only a key in use can"
            )
        case _:
            assert_never(key)


def bind(key: Key, command: BindAuthority) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id, ": generate or import it first")
        case Active(traits=traits) | Rotated(traits=traits):
            if traits.purpose is not Purpose.CERTIFICATE_SIGNING:
                return not_allowed(
                    f"key {command.key_id} is for {traits.purpose}: only certificate-signing keys have CA certificates"
                )
            return Perform(BindCertificate(command.key_id, command.certificate_pem))
        case Escrowed():
            return conflict(f"key {command.key_id} is escrowed and signs nothing any more: bind a key that is in use")
        case Deactivated() | Voided() | Destroyed():
            return conflict(
                f"key {command.key_id} {terminal_phrase(key)} and signs nothing any more: bind a key that is in use"
            )
        case _:
            assert_never(key)


def decide_on_binding(outcome: CaCertificateRegistered | CaCertificateInvalid) -> Decision:
    command = outcome.request
    match outcome:
        case CaCertificateRegistered():
            return AuthorityBound(
                key_id=command.key_id,
                certificate_pem=command.certificate_pem,
                fingerprint_sha256=outcome.fingerprint_sha256,
            )
        case CaCertificateInvalid():
            return invalid(f"certificate_pem is not a CA certificate of key {command.key_id}: {outcome.reason}")
        case _:
            assert_never(outcome)


def _require_signing_key(
    key: Key, key_id: str, signature_algorithm: SignatureAlgorithm, purpose: Purpose, context: Context
) -> Traits | Rejection:
    """Returns the traits of a key that may sign now, or the rejection. Expiry needs no event."""
    match key:
        case Unborn() | Prepared():
            return not_found(key_id)
        case Active(traits=traits) | Rotated(traits=traits):
            allowed = SIGNATURE_ALGORITHMS[traits.algorithm]
            if not PURPOSE_RULES[traits.purpose].signs:
                return not_allowed(f"key {key_id} is for {traits.purpose} and signs nothing: use a signing key")
            if purpose is not traits.purpose:
                return not_allowed(f"key {key_id} is for {traits.purpose}, not for {purpose}: name its own purpose")
            if signature_algorithm not in allowed:
                return invalid(
                    f"key {key_id} is {traits.algorithm} and cannot sign with {signature_algorithm}; "
                    f"allowed: {', '.join(allowed)}"
                )
            if traits.expires_at is not None and context.at >= traits.expires_at:
                return conflict(
                    f"key {key_id} expired on {timestamp(traits.expires_at)} and signs nothing any more: use another"
                )
            if isinstance(key, Rotated) and context.at >= key.overlap_until:
                return conflict(
                    f"key {key_id} was rotated and signs nothing since {timestamp(key.overlap_until)}: "
                    f"use {key.successor_id}"
                )
            return traits
        case Escrowed():
            return conflict(f"key {key_id} is escrowed, kept for recovery only: sign where it was exported to")
        case Deactivated() | Voided() | Destroyed():
            return conflict(f"key {key_id} {terminal_phrase(key)} and signs nothing any more: use another key")
        case _:
            assert_never(key)
