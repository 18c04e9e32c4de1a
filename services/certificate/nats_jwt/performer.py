"""Whether a key, as NATS writes it, signed something."""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.certificate.nats_jwt.domain import CheckSignature, SignatureChecked


async def perform(asked: CheckSignature) -> SignatureChecked:
    """Only reads and computes."""
    decoded = base64.b32decode(asked.issuer + "=" * (-len(asked.issuer) % 8))
    try:
        Ed25519PublicKey.from_public_bytes(decoded[1:33]).verify(asked.signature, asked.tbs)
    except (InvalidSignature, ValueError):
        return SignatureChecked(asked, good=False)
    return SignatureChecked(asked, good=True)
