"""Wycheproof's vectors through what the key service verifies, imports, signs, unwraps and opens with."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from services.key.crypto.algorithms import sign, to_pkcs8, verify
from services.key.crypto.foreign_keys import algorithm_of, load_foreign_key
from services.key.secrets.kek import KeyEncryptionKey
from shared.contracts.key.value_types import SignatureAlgorithm

VECTORS = Path(__file__).parents[2] / "data" / "wycheproof"
SIGNATURES = {
    "ecdsa_secp256r1_sha256": SignatureAlgorithm.ECDSA_SHA256,
    "ecdsa_secp384r1_sha384": SignatureAlgorithm.ECDSA_SHA384,
    "ed25519": SignatureAlgorithm.ED25519,
    "rsa_signature_2048_sha256": SignatureAlgorithm.RSA_PKCS1_SHA256,
    "rsa_signature_3072_sha256": SignatureAlgorithm.RSA_PKCS1_SHA256,
    "mldsa_65_verify": SignatureAlgorithm.ML_DSA_65,
}
JOSE = {
    "RS256": SignatureAlgorithm.RSA_PKCS1_SHA256,
    "RS384": SignatureAlgorithm.RSA_PKCS1_SHA384,
    "ES256": SignatureAlgorithm.ECDSA_SHA256,
}


def groups(name):
    return json.loads((VECTORS / f"{name}.json").read_text())["testGroups"]


def verifies(group, algorithm, test):
    try:
        public = load_der_public_key(bytes.fromhex(group["publicKeyDer"] or ""))
        verify(public, algorithm, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
    except (InvalidSignature, ValueError):  # the key itself may be the fault
        return False
    return True


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_verify_just_where_they_should(name):
    """A vector marked "acceptable" (an RSA DigestInfo without NULL) may be rejected."""
    wrong = [
        (test["tcId"], test["comment"])
        for group in groups(name)
        for test in group["tests"]
        if test["result"] != "acceptable" and verifies(group, SIGNATURES[name], test) is not (test["result"] == "valid")
    ]

    assert wrong == []


def test_wrapped_keys_unwrap_just_where_they_should():
    for group in groups("aes_kwp"):
        for test in group["tests"]:
            kek = KeyEncryptionKey("kek", bytes.fromhex(test["key"]))
            try:
                unwrapped = kek.unwrap(bytes.fromhex(test["ct"])).hex()
            except (InvalidUnwrap, ValueError):
                unwrapped = None
            assert unwrapped == (test["msg"] if test["result"] == "valid" else None), test["comment"]
            if test["result"] == "valid":
                assert kek.wrap(bytes.fromhex(test["msg"])).hex() == test["ct"]


def test_sealed_keys_open_just_where_they_should():
    """AES-GCM with the sizes that sealing.py uses; what it binds a key to is its own, so its AESGCM is judged alone."""
    for group in groups("aes_gcm"):
        for test in group["tests"]:
            key, nonce, aad, message, ciphertext, tag = (
                bytes.fromhex(test[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            try:
                opened = AESGCM(key).decrypt(nonce, ciphertext + tag, aad)
            except InvalidTag:
                opened = None
            assert opened == (message if test["result"] == "valid" else None), test["comment"]


# -- keys whose private halves are published -----------------------------------------
def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="))


def private_of(jwk):
    if jwk["kty"] == "EC":
        return ec.derive_private_key(number(jwk["d"]), ec.SECP256R1())
    n, e, d = (number(jwk[part]) for part in "ned")
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    ).private_key()


@pytest.mark.parametrize("group", groups("json_web_signature"), ids=lambda group: group["private"]["alg"])
def test_a_published_key_is_imported_and_signs_as_published(group):
    """PKCS #1 v1.5 signatures are the published ones, octet for octet; those of ECDSA verify, as ours do."""
    theirs, algorithm = private_of(group["private"]), JOSE[group["private"]["alg"]]
    pem = theirs.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    private = load_foreign_key(to_pkcs8(theirs), algorithm_of(theirs), pem)

    assert group["tests"]
    for test in group["tests"]:
        signed, _, published = test["jws"].rpartition(".")
        signature = base64.urlsafe_b64decode(published + "==")
        if algorithm is SignatureAlgorithm.ECDSA_SHA256:
            signature = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
            verify(private.public_key(), algorithm, sign(private, algorithm, signed.encode()), signed.encode())
        else:
            assert sign(private, algorithm, signed.encode()) == signature
        verify(private.public_key(), algorithm, signature, signed.encode())


@pytest.mark.skip(reason="aes_wrap: RFC 3394 without padding is not what data keys are wrapped with (RFC 5649 is)")
def test_wrapping_without_padding(): ...


@pytest.mark.skip(reason="pbes2: only inside the PKCS#12 that is written and never read; openssl judges that")
def test_password_based_encryption(): ...
