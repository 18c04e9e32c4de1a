"""Keys of NATS, beside what the package nkeys 0.2.1 of PyPI makes of the same seed."""

import base64
import binascii

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.key.crypto.algorithms import public_key_info
from services.key.crypto.nkeys import der_of, ed25519_of, nkey_seed, public_nkey
from shared.contracts.key.value_types import Purpose

SEED = bytes(range(32))
KNOWN = {
    Purpose.NATS_OPERATOR: (
        "SOAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2AJA",
        "OAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QZVT",
    ),
    Purpose.NATS_ACCOUNT: (
        "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI",
        "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV",
    ),
    Purpose.NATS_USER: (
        "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y",
        "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
    ),
    Purpose.NATS_SERVER: (
        "SNAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2D5U",
        "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB",
    ),
}


@pytest.mark.parametrize("purpose", KNOWN)
def test_a_seed_and_its_public_key_are_written_as_nats_writes_them(purpose):
    private = Ed25519PrivateKey.from_private_bytes(SEED)
    seed, public = KNOWN[purpose]

    assert nkey_seed(purpose, SEED) == seed
    assert public_nkey(purpose, ed25519_of(public_key_info(private).pem)) == public


def test_a_key_of_another_purpose_has_no_such_form():
    with pytest.raises(KeyError):
        public_nkey(Purpose.AUTHENTICATION, SEED)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([*KNOWN]))
def test_the_first_letter_says_whose_it_is_and_the_last_two_octets_are_the_checksum(key, purpose):
    text = public_nkey(purpose, key)
    content = base64.b32decode(text)

    assert text[0] == KNOWN[purpose][1][0]
    assert content[1:-2] == key
    assert binascii.crc_hqx(content[:-2], 0) == int.from_bytes(content[-2:], "little")


def test_a_pem_that_is_none_has_nothing_in_it():
    assert der_of("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n") == b""
