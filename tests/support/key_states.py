"""Keys in every state, and every command to a key."""

from __future__ import annotations

from datetime import timedelta

from shared.contracts.key.commands import (
    ArchiveKey,
    BindAuthority,
    CancelRotation,
    CompleteRotation,
    DeriveKey,
    DestroyKey,
    EscrowKey,
    ExpireKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    ImportKey,
    PrepareKeyImport,
    RevokeKey,
    RotateKey,
    SignBatch,
    SignWithKey,
    TransferKey,
)
from shared.contracts.key.events import (
    KeyArchived,
    KeyDestroyed,
    KeyEscrowed,
    KeyExpired,
    KeyExported,
    KeyGenerated,
    KeyImportPrepared,
    KeyRevoked,
    KeyRotated,
    KeyRotationCompleted,
)
from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose, SignatureAlgorithm
from tests.support.scenario import NOON

ID = "0192f0c1-0000-7000-8000-00000000000a"
OTHER = "0192f0c1-0000-7000-8000-00000000000b"
PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGHX4/UpK+a1iDCFWXwIyUBpyMDHk\n"
    "/IOMHprjm76a9mVrGTpFHrwwsezJ6Yt5YnzSdl8qVY93aSlOLG2KXs2oBQ==\n"
    "-----END PUBLIC KEY-----\n"
)
PRINT = "ab" * 32
RECIPIENT = bytes(range(32))
PASSED, FUTURE = NOON - timedelta(days=1), NOON + timedelta(days=1)


def generated(algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, **more):
    fields = {"exportable": True, "owner": "Example AG", "owner_kind": OwnerKind.ORGANIZATION, "key_id": ID} | more
    return KeyGenerated(
        algorithm=algorithm,
        public_key_pem=PEM,
        fingerprint_sha256=PRINT,
        purpose=purpose,
        provenance=Provenance.SOFTWARE,
        **fields,
    )


def rotated(until=PASSED):
    return KeyRotated(key_id=ID, successor_id=OTHER, overlap_until=until, reason="yearly")


PREPARED = KeyImportPrepared(key_id=ID, recipient_public_key=RECIPIENT)
EXPORTED = KeyExported(key_id=ID, algorithm=Algorithm.EC_P256, sealed_key=b"sealed", recipient_public_key=RECIPIENT)
MANAGEMENT = generated(Algorithm.X25519, Purpose.KEY_MANAGEMENT)
REVOKED = KeyRevoked(key_id=ID, reason="lost")

HISTORIES = {
    "unborn": (),
    "prepared": (PREPARED,),
    "active": (generated(),),
    "exported": (generated(), EXPORTED),
    "rotated": (generated(), rotated()),
    "escrowed": (MANAGEMENT, EXPORTED, KeyEscrowed(key_id=ID)),
    "expired": (generated(), KeyExpired(key_id=ID)),
    "replaced": (generated(), rotated(), KeyRotationCompleted(key_id=ID, successor_id=OTHER)),
    "revoked": (generated(), REVOKED),
    "archived": (generated(), REVOKED, KeyArchived(key_id=ID)),
    "voided": (KeyRevoked(key_id=ID, reason="undone", existed=False),),
    "destroyed": (generated(), REVOKED, KeyDestroyed(key_id=ID)),
}
"""Events that lead to each state."""

SIGN = SignWithKey(
    key_id=ID,
    message=b"hello",
    signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
    purpose=Purpose.DIGITAL_SIGNATURE,
)
SIGN_BATCH = SignBatch(
    key_id=ID,
    messages=(b"one", b"two"),
    signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
    purpose=Purpose.DIGITAL_SIGNATURE,
)
IMPORT = ImportKey(key_id=ID, algorithm=Algorithm.EC_P256, sealed_key=b"sealed", public_key_pem=PEM, proof=b"proof")
DERIVE = DeriveKey(
    key_id=ID,
    algorithm=Algorithm.EC_P256,
    sealed_passphrase=b"sealed",
    organization="Example AG",
    path="pki/root/2026",
)
ROTATE = RotateKey(key_id=ID, successor_id=OTHER, overlap_days=30, reason="yearly")

COMMANDS = {
    "generate": GenerateKey(key_id=ID, algorithm=Algorithm.EC_P256),
    "prepare-import": PrepareKeyImport(key_id=ID),
    "import": IMPORT,
    "derive": DERIVE,
    "sign": SIGN,
    "sign-batch": SIGN_BATCH,
    "bind-authority": BindAuthority(key_id=ID, certificate_pem="-----BEGIN CERTIFICATE-----\n"),
    "export": ExportKey(key_id=ID, recipient_public_key=RECIPIENT),
    "export-public": ExportPublicKey(key_id=ID),
    "escrow": EscrowKey(key_id=ID),
    "rotate": ROTATE,
    "complete-rotation": CompleteRotation(key_id=ID),
    "cancel-rotation": CancelRotation(key_id=ID),
    "expire": ExpireKey(key_id=ID),
    "revoke": RevokeKey(key_id=ID),
    "archive": ArchiveKey(key_id=ID),
    "transfer": TransferKey(key_id=ID, owner="Other AG", owner_kind=OwnerKind.ORGANIZATION),
    "destroy": DestroyKey(key_id=ID),
}
"""One command of each type."""
