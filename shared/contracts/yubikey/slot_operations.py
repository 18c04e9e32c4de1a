"""Commands and events for using a slot's key (CSR, signature, decryption) and for moving it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from shared.contracts.base import Base64, Command, Event, Fingerprint, Pem
from shared.contracts.certificate.value_types import DistinguishedName
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.yubikey.slots import AnySlot, Slot, YubiKeyMessage


class _SlotCommand(YubiKeyMessage, Command):
    slot: AnySlot


class CreateSlotCsr(_SlotCommand):
    """Create a PKCS#10 request for the slot's key. Further names are part of the certificate command."""

    subject: DistinguishedName


class SignInSlot(_SlotCommand):
    message: Base64 = Field(min_length=1, max_length=65_536, description="the bytes to sign, not a digest of them")
    signature_algorithm: SignatureAlgorithm


class DecryptInSlot(_SlotCommand):
    """Decrypt (RSA, PKCS#1 v1.5) or agree on a secret (ECDH), if the role file allows it for the slot."""

    ciphertext: Base64 | None = Field(default=None, max_length=1024)
    peer_public_key_pem: Pem | None = None
    recipient_public_key: Base64 = Field(
        min_length=32, max_length=32, description="X25519, raw: recipient of the plaintext"
    )

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.ciphertext is None) == (self.peer_public_key_pem is None):
            raise ValueError("exactly one of ciphertext and peer_public_key_pem must be given")
        return self


class MoveSlotKey(_SlotCommand):
    """Move key and certificate to an empty slot (firmware 5.7)."""

    to: AnySlot


class _SlotReport(YubiKeyMessage, Event):
    slot: Slot
    simulated: bool = Field(description="true: the device is a virtual one")


class SlotCsrCreated(_SlotReport):
    csr_pem: Pem
    public_key_pem: Pem


class SlotSignatureCreated(_SlotReport):
    message_sha256: Fingerprint
    signature: Base64
    signature_algorithm: SignatureAlgorithm
    public_key_pem: Pem


class SlotDecrypted(_SlotReport):
    sealed_plaintext: Base64 = Field(description="HPKE to the recipient; for ECDH, the raw shared secret")
    recipient_public_key: Base64


class SlotMoved(_SlotReport):
    to: Slot


def plaintext_info(serial: str, slot: str) -> bytes:
    """Builds the HPKE `info` of a plaintext decrypted in a slot."""
    return f"cim-keys/yubikey-plaintext/v1/{serial}/{slot}".encode()


SlotOperationCommand = CreateSlotCsr | SignInSlot | DecryptInSlot | MoveSlotKey
SlotOperationEvent = SlotCsrCreated | SlotSignatureCreated | SlotDecrypted | SlotMoved
