"""What each outcome of an effect amounts to: an event, or a refusal."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

from services.key.authority_binding import bound
from services.key.effects import (
    Answer,
    AuthorityNoted,
    KeyGone,
    KeyOutOfReach,
    KeyPairCreated,
    KeyPairDiffers,
    KeySealed,
    NotAnAuthority,
    NotToBeSigned,
    Outcome,
    RecipientUnfit,
    Shredded,
    Signed,
)
from shared.contracts.command import RefusalCode
from shared.contracts.key_events import KeyDestroyed, KeyExported, KeyGenerated, KeySigned
from shared.contracts.keying import Algorithm, Provenance, Purpose
from shared.decider import Refused


def conclude(outcome: Outcome) -> Answer:  # noqa: C901 - one case for each outcome
    match outcome:
        case KeyPairCreated(request=pair):
            return KeyGenerated(
                key_id=pair.key_id,
                algorithm=pair.algorithm,
                public_key_pem=outcome.public_key_pem,
                fingerprint_sha256=outcome.fingerprint_sha256,
                purpose=pair.purpose,
                provenance=Provenance.SOFTWARE,
                exportable=pair.exportable,
                owner=pair.owner,
                label=pair.label,
            )
        case KeyPairDiffers(request=pair):
            return taken(pair.key_id, outcome.algorithm, outcome.purpose)
        case Signed(request=sign):
            return KeySigned(
                key_id=sign.key_id,
                signature=outcome.signature,
                signature_algorithm=sign.signature_algorithm,
                message_sha256=sha256(sign.message).hexdigest(),
                purpose=sign.purpose,
            )
        case NotToBeSigned(request=sign):
            problem = f"key {sign.key_id} is for {outcome.purpose} and does not sign this message: {outcome.reason}"
            return Refused(RefusalCode.NOT_ALLOWED, problem)
        case AuthorityNoted() | NotAnAuthority():
            return bound(outcome)
        case KeySealed(request=seal):
            return KeyExported(
                key_id=seal.key_id,
                algorithm=outcome.algorithm,
                sealed_key=outcome.sealed_key,
                recipient_public_key=seal.recipient_public_key,
            )
        case RecipientUnfit():
            problem = (
                "recipient_public_key is no usable X25519 public key (RFC 7748, section 6.1): send a generated one"
            )
            return Refused(RefusalCode.INVALID, problem)
        case Shredded(request=shred):
            return KeyDestroyed(key_id=shred.key_id)
        case KeyGone(request=request):
            problem = f"key {request.key_id} was destroyed, and an id is never used again: choose another"
            return Refused(RefusalCode.CONFLICT, problem)
        case KeyOutOfReach(request=request):
            problem = f"the private half of key {request.key_id} is out of reach: {outcome.reason}"
            return Refused(RefusalCode.UNAVAILABLE, problem, retryable=True)
        case _:
            assert_never(outcome)


def taken(key_id: str, algorithm: Algorithm, purpose: Purpose) -> Refused:
    """The answer to who wants an id for another kind of key than has it."""
    problem = f"key {key_id} exists and is {algorithm} for {purpose}: ask for just that, or choose another key_id"
    return Refused(RefusalCode.CONFLICT, problem)
