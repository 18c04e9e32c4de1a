"""Signature verification against the valid and invalid signatures of Project Wycheproof."""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from services.certificate.public_keys import require_signing_key
from services.certificate.signatures import verify
from shared.contracts.key.value_types import SignatureAlgorithm

VECTORS = Path(__file__).parents[2] / "data" / "wycheproof"
FILES = {
    "ecdsa_secp256r1_sha256": SignatureAlgorithm.ECDSA_SHA256,
    "ecdsa_secp384r1_sha384": SignatureAlgorithm.ECDSA_SHA384,
    "ed25519": SignatureAlgorithm.ED25519,
    "rsa_signature_2048_sha256": SignatureAlgorithm.RSA_PKCS1_SHA256,
    "rsa_signature_3072_sha256": SignatureAlgorithm.RSA_PKCS1_SHA256,
    "mldsa_65_verify": SignatureAlgorithm.ML_DSA_65,
}
ACCEPTABLE = {"Missing NULL in the ASN encoding"}
"""RFC 8017, A.2.4, asks for it; a verifier may let it pass, and this one does not."""


def holds(encoded_key, algorithm, test):
    try:
        key = require_signing_key(load_der_public_key(bytes.fromhex(encoded_key)))
        verify(key, algorithm, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_every_vector_of_wycheproof_is_judged_right(name):
    groups = json.loads((VECTORS / f"{name}.json").read_text())["testGroups"]

    wrong = [
        f"{test['tcId']}: {test['comment']} is {test['result']}"
        for group in groups
        for test in group["tests"]
        if holds(group["publicKeyDer"], FILES[name], test) is not (test["result"] == "valid")
    ]
    acceptable = {test["comment"] for group in groups for test in group["tests"] if test["result"] == "acceptable"}

    assert wrong == []
    assert acceptable <= ACCEPTABLE


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_signature_raises_nothing_but_that_it_is_wrong(name):
    group = json.loads((VECTORS / f"{name}.json").read_text())["testGroups"][0]
    key = require_signing_key(load_der_public_key(bytes.fromhex(group["publicKeyDer"])))

    for test in group["tests"]:
        if test["result"] != "valid":
            with pytest.raises(InvalidSignature):
                verify(key, FILES[name], bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
