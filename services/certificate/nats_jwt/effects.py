"""The effect of the NATS JWT decider and its outcome."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckSignature:
    """Verify *signature* over *tbs* with the public nkey *issuer*."""

    issuer: str
    tbs: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignatureChecked:
    effect: CheckSignature
    is_valid: bool
