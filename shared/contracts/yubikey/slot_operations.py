"""What a slot's key is used for through this service: requests, signatures, decryption; and moving it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from shared.contracts.base import Base64, Command, Event, Fingerprint, Pem
from shared.contracts.certificate.value_types import DistinguishedName
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.yubikey.slots import AnySlot, Slot, YubiKeyMessage


class _OfSlot(YubiKeyMessage, Command):
    slot: AnySlot


class CreateSlotCsr(_OfSlot):
    """A PKCS#10 request for the slot's key, signed by it. Further names are asked for with the certificate."""

    subject: DistinguishedName


class SignInSlot(_OfSlot):
    message: Base64 = Field(min_length=1, max_length=65_536, description="the bytes to sign, not a digest of them")
    signature_algorithm: SignatureAlgorithm


class DecryptInSlot(_OfSlot):
    """Decrypt (RSA, PKCS#1 v1.5) or agree (ECDH); where the role file lets that slot be used so."""

    ciphertext: Base64 | None = Field(default=None, max_length=1024)
    peer_public_key_pem: Pem | None = None
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw: who may read it")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ciphertext is None) == (self.peer_public_key_pem is None):
            raise ValueError("exactly one of ciphertext and peer_public_key_pem must be given")
        return self


class MoveSlotKey(_OfSlot):
    """To an empty slot (firmware 5.7); its certificate goes with it."""

    to: AnySlot


class _Reported(YubiKeyMessage, Event):
    slot: Slot
    simulated: bool = Field(description="true: the device is a virtual one")


class SlotCsrCreated(_Reported):
    csr_pem: Pem
    public_key_pem: Pem


class SlotSignatureCreated(_Reported):
    message_sha256: Fingerprint
    signature: Base64
    signature_algorithm: SignatureAlgorithm
    public_key_pem: Pem


class SlotDecrypted(_Reported):
    sealed_plaintext: Base64 = Field(description="HPKE to the recipient; of an agreement, the raw shared secret")
    recipient_public_key: Base64


class SlotMoved(_Reported):
    to: Slot


def plaintext_info(serial: str, slot: str) -> bytes:
    """HPKE's `info` for what was decrypted in a slot."""
    return f"cim-keys/yubikey-plaintext/v1/{serial}/{slot}".encode()


SlotOperationCommand = CreateSlotCsr | SignInSlot | DecryptInSlot | MoveSlotKey
SlotOperationEvent = SlotCsrCreated | SlotSignatureCreated | SlotDecrypted | SlotMoved
