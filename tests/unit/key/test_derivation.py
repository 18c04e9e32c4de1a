"""Derived keys: known answers, computed once by argon2-cffi and hmac instead of ours, and what changes a key."""

import unicodedata

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from services.key.crypto import derivation as derivations
from services.key.crypto.algorithms import public_key_info
from services.key.crypto.derivation import PassphraseInvalidError, derivation_of, derive
from shared.contracts.key.value_types import Algorithm

PASSPHRASE = b"correct horse battery staple"
ROOT = derivation_of("Example AG", "pki/root/2026")
KNOWN = {
    Algorithm.EC_P256: (
        "b3fca6ee6116ea23d1794c5a496ebe77334b3eb34e8772b39c5be7f125a08f04",
        "01822392d07bc394129dc22ad7654187d874439353c28d749df7c75c2f4cc9d8",
    ),
    Algorithm.EC_P384: (
        "85f1748abef8b1e623fda7e9d5284f3c185a61fbbbacfbd0d0c79e84fb4ca53b8fd1ac02b7ddc85831b2387461d53c6f",
        "f1f63c42a9c47f6e7cb1807f457638764e860f35c5b9e5f84099d650f4480693",
    ),
    Algorithm.ED25519: (
        "b322a77d84494800c3909b9381c49602e8789fda12408bcea0d83e2bb3949529",
        "0f213dfa7150127afe654f95a6f97b2efa279803e111395a3dc48bf3c33d5d27",
    ),
    Algorithm.X25519: (
        "2b1a73ffa04e70c6d5292d0df5e40bdb4c024390ecfca77d5c3deff956200ea0",
        "a86b54eec00ab19cd6a5bbd4dd3fdf1bf2448f9494c98f4cf2e94758bd290f7c",
    ),
    Algorithm.ML_DSA_65: (
        "c798f15f26e419e15b071dd7f9608d6886b3e9e73ea19636df836adee929e5ed",
        "a89fff188ebbd27701b0f845813b702a6b6cf57d5d4cc257c1d3191174e381d8",
    ),
}
"""For each algorithm: the private value or seed, and the fingerprint of the public half."""

CHEAP = ROOT.model_copy(update={"memory_kib": 19 * 1024, "iterations": 1, "lanes": 1})
"""For what does not depend on how long the passphrase is stretched."""


def secret(private):
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return f"{private.private_numbers().private_value:x}"
    return private.private_bytes_raw().hex()


@pytest.mark.parametrize("algorithm", KNOWN)
def test_a_passphrase_and_a_path_always_lead_to_this_key(algorithm):
    key = derive(PASSPHRASE, ROOT, algorithm)

    assert (secret(key), public_key_info(key).fingerprint_sha256) == KNOWN[algorithm]


def test_what_is_told_is_what_was_used():
    assert ROOT.model_dump(mode="json") == {
        "organization": "Example AG",
        "path": "pki/root/2026",
        "salt": "amYXJ+PVAhFgNBEUvF8aNABNjXdzQJxqOdaDPLcIUI8=",
        "memory_kib": 262144,
        "iterations": 3,
        "lanes": 4,
        "v": 1,
    }


@pytest.mark.parametrize(
    "other",
    [
        (PASSPHRASE + b"!", CHEAP, Algorithm.EC_P256),
        (PASSPHRASE, CHEAP.model_copy(update={"salt": derivation_of("Other AG", "x").salt}), Algorithm.EC_P256),
        (PASSPHRASE, CHEAP.model_copy(update={"path": "pki/root/2027"}), Algorithm.EC_P256),
        (PASSPHRASE, CHEAP.model_copy(update={"path": "pki/root"}), Algorithm.EC_P256),
        (PASSPHRASE, CHEAP.model_copy(update={"path": "root/pki/2026"}), Algorithm.EC_P256),
        (PASSPHRASE, CHEAP.model_copy(update={"iterations": 2}), Algorithm.EC_P256),
        (PASSPHRASE, CHEAP, Algorithm.ED25519),
        (PASSPHRASE, CHEAP, Algorithm.X25519),
    ],
    ids=["passphrase", "organisation", "path", "parent", "order", "cost", "ed25519", "x25519"],
)
def test_whatever_differs_leads_to_another_key(other):
    assert secret(derive(*other)) != secret(derive(PASSPHRASE, CHEAP, Algorithm.EC_P256))


def test_a_passphrase_has_one_spelling_whatever_keyboard_it_came_from():
    text = "fünf grüne Bäume überm Fluß"
    composed, decomposed = (unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD"))
    assert composed != decomposed

    assert secret(derive(composed, CHEAP, Algorithm.ED25519)) == secret(derive(decomposed, CHEAP, Algorithm.ED25519))


@pytest.mark.parametrize(
    ("passphrase", "word"),
    [
        (b"nineteen characters", "shorter than 20"),
        ("ä".encode() * 19, "shorter than 20"),
        (b"x" * 1025, "longer than 1024"),
        (b"\xff" * 32, "UTF-8"),
        (b"correct horse battery staple\n", "line end"),
    ],
)
def test_a_passphrase_that_would_not_do_is_refused_without_a_word_of_it(passphrase, word):
    with pytest.raises(PassphraseInvalidError, match=word) as caught:
        derive(passphrase, CHEAP, Algorithm.ED25519)

    assert "staple" not in str(caught.value)


def test_an_rsa_key_is_not_derived():
    with pytest.raises(TypeError, match="not derived"):
        derive(PASSPHRASE, CHEAP, Algorithm.RSA_2048)


@given(st.binary(min_size=40, max_size=40))
def test_every_draw_is_in_the_range_of_its_curve(drawn):
    order = derivations._P256_ORDER  # noqa: SLF001 - the bound is the point

    assert 1 <= derivations._scalar(drawn, order) < order  # noqa: SLF001 - as above


@pytest.mark.parametrize(("drawn", "scalar"), [(bytes(40), 1), (b"\xff" * 40, None)])
def test_the_ends_of_the_range_are_in_it_too(drawn, scalar):
    found = derivations._scalar(drawn, derivations._P256_ORDER)  # noqa: SLF001 - the arithmetic is the point

    assert scalar is None or found == scalar
