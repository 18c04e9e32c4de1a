"""Performer of the NATS JWT decider's effect. It only computes."""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.certificate.nats_jwt.effects import CheckSignature, SignatureChecked


async def perform(effect: CheckSignature) -> SignatureChecked:
    """Verifies an Ed25519 signature with a public nkey: a prefix byte, 32 bytes of key and a CRC-16, in base32."""
    decoded = base64.b32decode(effect.issuer + "=" * (-len(effect.issuer) % 8))
    try:
        Ed25519PublicKey.from_public_bytes(decoded[1:33]).verify(effect.signature, effect.tbs)
    except (InvalidSignature, ValueError):
        return SignatureChecked(effect, is_valid=False)
    return SignatureChecked(effect, is_valid=True)
