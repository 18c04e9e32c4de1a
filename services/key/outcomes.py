"""Decisions on the results of effects: the event or the rejection that each leads to. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

from services.key.crypto.nkeys import ed25519_of, public_nkey
from services.key.effects import (
    AlgorithmDisabled,
    BatchSigned,
    CaCertificateInvalid,
    CaCertificateRegistered,
    CertificatesInvalid,
    ConcurrentKeyPair,
    Decision,
    EffectResult,
    ImportFailed,
    KeyIdTaken,
    KeyPairCreated,
    KeyPairDerived,
    KeyPairImported,
    PrivateKeyDestroyed,
    PrivateKeyErased,
    PrivateKeySealed,
    PrivateKeyUnavailable,
    PublicKeyFormatted,
    RecipientInvalid,
    RecipientPrepared,
    Signed,
    SigningDenied,
)
from services.key.purposes import PURPOSE_RULES
from services.key.rejections import conflict, id_taken, invalid, not_allowed
from services.key.use import decide_on_binding
from shared.contracts.key.events import (
    KeyBatchSigned,
    KeyDestroyed,
    KeyExported,
    KeyGenerated,
    KeyImported,
    KeyImportPrepared,
    KeySigned,
    PublicKeyExported,
)
from shared.contracts.key.value_types import Provenance, Purpose
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection


def decide_on_result(outcome: EffectResult) -> Decision:  # noqa: C901, PLR0912 - one case an outcome
    match outcome:
        case KeyPairCreated() | KeyPairDerived():
            return _generated_event(outcome)
        case KeyPairImported():
            return _imported_event(outcome)
        case RecipientPrepared(request=prepare):
            return KeyImportPrepared(key_id=prepare.key_id, recipient_public_key=outcome.recipient_public_key)
        case KeyIdTaken(request=new):
            return id_taken(new.key_id, outcome.algorithm, outcome.purpose)
        case ConcurrentKeyPair(request=new):
            return conflict(f"another command stored a key under {new.key_id} first: choose another key_id")
        case ImportFailed():
            return invalid(outcome.reason)
        case AlgorithmDisabled():
            return not_allowed(
                f"this key service does not allow {outcome.algorithm} keys: start it with ENABLE_ML_DSA=1, or "
                "choose another algorithm"
            )
        case Signed() | BatchSigned() | SigningDenied():
            return _decide_on_signature(outcome)
        case PrivateKeySealed(request=seal):
            return KeyExported(
                key_id=seal.key_id,
                algorithm=outcome.algorithm,
                sealed_key=outcome.sealed_key,
                recipient_public_key=seal.recipient_public_key,
                format=seal.format,
            )
        case RecipientInvalid():
            return invalid(
                "recipient_public_key is not a valid X25519 public key (RFC 7748, section 6.1): send a generated one"
            )
        case CertificatesInvalid():
            return invalid(outcome.reason)
        case CaCertificateRegistered() | CaCertificateInvalid():
            return decide_on_binding(outcome)
        case PublicKeyFormatted(request=export):
            return PublicKeyExported(key_id=export.key_id, format=export.format, public_key=outcome.public_key)
        case PrivateKeyErased(request=erase_key):
            return KeyDestroyed(key_id=erase_key.key_id)
        case PrivateKeyDestroyed(request=request):
            return conflict(f"key {request.key_id} was destroyed, and an id is never used again: choose another")
        case PrivateKeyUnavailable(request=request):
            problem = f"the private key of {request.key_id} is not available: {outcome.reason}"
            return Rejection(RejectionCode.UNAVAILABLE, problem, retryable=True)
        case _:
            assert_never(outcome)


def _generated_event(outcome: KeyPairCreated | KeyPairDerived) -> KeyGenerated:
    new = outcome.request
    derivation = outcome.derivation if isinstance(outcome, KeyPairDerived) else None
    return KeyGenerated(
        key_id=new.key_id,
        algorithm=new.algorithm,
        public_key_pem=outcome.public_key_pem,
        fingerprint_sha256=outcome.fingerprint_sha256,
        purpose=new.purpose,
        provenance=Provenance.DERIVED if derivation else Provenance.SOFTWARE,
        exportable=new.exportable,
        owner=new.owner,
        owner_kind=new.owner_kind,
        label=new.label,
        expires_at=new.expires_at,
        approvals=new.approvals,
        nkey=_nkey(new.purpose, outcome.public_key_pem),
        derivation=derivation,
    )


def _imported_event(outcome: KeyPairImported) -> KeyImported:
    new = outcome.request
    return KeyImported(
        key_id=new.key_id,
        algorithm=new.algorithm,
        public_key_pem=outcome.public_key_pem,
        fingerprint_sha256=outcome.fingerprint_sha256,
        purpose=new.purpose,
        provenance=Provenance.IMPORTED,
        exportable=new.exportable,
        owner=new.owner,
        owner_kind=new.owner_kind,
        label=new.label,
        expires_at=new.expires_at,
        approvals=new.approvals,
        nkey=_nkey(new.purpose, outcome.public_key_pem),
    )


def _nkey(purpose: Purpose, public_key_pem: str) -> str | None:
    return public_nkey(purpose, ed25519_of(public_key_pem)) if PURPOSE_RULES[purpose].nkey else None


def _decide_on_signature(outcome: Signed | BatchSigned | SigningDenied) -> Decision:
    match outcome:
        case Signed(request=sign):
            return KeySigned(
                key_id=sign.key_id,
                signature=outcome.signature,
                signature_algorithm=sign.signature_algorithm,
                message_sha256=sha256(sign.message).hexdigest(),
                purpose=sign.purpose,
                approved_by=sign.approved_by,
            )
        case BatchSigned(request=batch):
            return KeyBatchSigned(
                key_id=batch.key_id,
                signatures=outcome.signatures,
                signature_algorithm=batch.signature_algorithm,
                messages_sha256=tuple(sha256(message).hexdigest() for message in batch.messages),
                purpose=batch.purpose,
            )
        case SigningDenied(request=request):
            return not_allowed(
                f"key {request.key_id} is for {outcome.purpose} and does not sign this message: {outcome.reason}"
            )
        case _:
            assert_never(outcome)
