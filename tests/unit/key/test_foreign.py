"""Keys from elsewhere: what is not exactly what it is said to be is refused, and nothing of it is repeated."""

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from services.key.crypto import algorithms
from services.key.crypto.algorithms import public_key_info, to_pkcs8
from services.key.crypto.foreign_keys import ForeignKeyError, algorithm_of, load_foreign_key, require_proof
from services.key.purposes import SIGNATURE_ALGORITHMS
from shared.contracts.key.value_types import Algorithm, import_proof

SIGNING = [algorithm for algorithm, fitting in SIGNATURE_ALGORITHMS.items() if fitting]


@cache
def private(algorithm, which=0):  # noqa: ARG001 - it is the key of the cache
    return algorithms.generate(algorithm)


@cache
def odd(kind):
    match kind:
        case "rsa-1024":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505 - such a key is what is refused
        case "rsa-2056":
            return rsa.generate_private_key(65537, 2056)
        case "rsa-e3":
            return rsa.generate_private_key(3, 2048)
        case "p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "secp256k1":
            return ec.generate_private_key(ec.SECP256K1())
        case "ed448":
            return ed448.Ed448PrivateKey.generate()
        case "dsa":
            return dsa.generate_private_key(2048)


def serialised(key, form=PrivateFormat.PKCS8, encoding=Encoding.DER, encryption=None):
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def pem_of(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_that_is_what_it_is_said_to_be_is_taken(algorithm):
    key = private(algorithm)

    found = load_foreign_key(to_pkcs8(key), algorithm, pem_of(key))

    assert to_pkcs8(found) == to_pkcs8(key)
    assert algorithm_of(found) is algorithm


@pytest.mark.parametrize("kind", ["rsa-1024", "rsa-2056", "p521", "secp256k1", "ed448", "dsa"])
def test_a_kind_that_is_not_kept_here_is_refused(kind):
    with pytest.raises(ForeignKeyError, match=r"type, curve or size|unknown kind"):
        load_foreign_key(serialised(odd(kind)), Algorithm.EC_P256, pem_of(odd(kind)))


def test_a_small_public_exponent_is_refused():
    with pytest.raises(ForeignKeyError, match="65537"):
        load_foreign_key(serialised(odd("rsa-e3")), Algorithm.RSA_2048, pem_of(odd("rsa-e3")))


def test_rsa_numbers_that_do_not_belong_together_are_refused():
    whole = to_pkcs8(private(Algorithm.RSA_2048))
    exponent = private(Algorithm.RSA_2048).private_numbers().d
    octets, altered = (number.to_bytes((exponent.bit_length() + 7) // 8) for number in (exponent, exponent ^ 2))
    mixed = whole.replace(octets, altered)
    assert mixed != whole

    with pytest.raises(ForeignKeyError, match=r"inconsistent"):
        load_foreign_key(mixed, Algorithm.RSA_2048, pem_of(private(Algorithm.RSA_2048)))


def test_another_algorithm_than_stated_is_refused():
    with pytest.raises(ForeignKeyError, match="ec-p256, not ec-p384"):
        load_foreign_key(to_pkcs8(private(Algorithm.EC_P256)), Algorithm.EC_P384, pem_of(private(Algorithm.EC_P256)))


@pytest.mark.parametrize("algorithm", [Algorithm.EC_P256, Algorithm.ED25519, Algorithm.RSA_2048])
def test_another_public_half_is_refused(algorithm):
    for other in (pem_of(private(algorithm, 1)), "-----BEGIN PUBLIC KEY-----\nnone", pem_of(odd("dsa"))):
        with pytest.raises(ForeignKeyError, match="public_key_pem"):
            load_foreign_key(to_pkcs8(private(algorithm)), algorithm, other)


def test_an_ec_key_is_known_by_its_own_public_half_and_not_by_what_is_written_beside_it():
    key, other = private(Algorithm.EC_P256), private(Algorithm.EC_P256, 1)
    point, theirs = (
        each.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for each in (key, other)
    )
    swapped = to_pkcs8(key).replace(point, theirs)
    assert swapped != to_pkcs8(key)

    with pytest.raises(ForeignKeyError):
        load_foreign_key(swapped, Algorithm.EC_P256, pem_of(other))


@pytest.mark.parametrize(
    "content",
    [
        lambda _: b"",
        lambda _: b"\x30",
        lambda _: b"passphrase",
        lambda key: to_pkcs8(key) + b"\x00",
        lambda key: to_pkcs8(key)[:-1],
        lambda key: serialised(key, encoding=Encoding.PEM),
        lambda key: serialised(key, PrivateFormat.TraditionalOpenSSL),
        lambda key: serialised(key, PrivateFormat.OpenSSH, Encoding.PEM),
        lambda key: serialised(key, encryption=BestAvailableEncryption(b"password")),
        lambda _: bytes(9000),
    ],
    ids=["nothing", "a tag", "text", "more", "less", "pem", "sec1", "openssh", "encrypted", "long"],
)
def test_what_is_no_bare_pkcs8_is_refused(content):
    key = private(Algorithm.EC_P256)

    with pytest.raises(ForeignKeyError):
        load_foreign_key(content(key), Algorithm.EC_P256, pem_of(key))


@given(st.binary(max_size=200))
def test_whatever_it_is_it_is_refused_in_words(content):
    with pytest.raises(ForeignKeyError):
        load_foreign_key(content, Algorithm.EC_P256, pem_of(private(Algorithm.EC_P256)))


@pytest.mark.parametrize("algorithm", SIGNING)
def test_a_proof_is_of_this_key_for_this_id_and_recipient(algorithm):
    key, message = private(algorithm), import_proof("an id", bytes(32))
    proof = algorithms.sign(key, SIGNATURE_ALGORITHMS[algorithm][0], message)

    require_proof(key, algorithm, proof, message)
    for other in (import_proof("another id", bytes(32)), import_proof("an id", bytes(31) + b"\x01")):
        with pytest.raises(ForeignKeyError, match="import_proof"):
            require_proof(key, algorithm, proof, other)
    with pytest.raises(ForeignKeyError, match=SIGNATURE_ALGORITHMS[algorithm][0]):
        require_proof(private(algorithm, 1), algorithm, proof, message)


def test_no_secret_is_in_a_refusal():
    key = private(Algorithm.EC_P256)
    secret = f"{key.private_numbers().private_value:x}"

    with pytest.raises(ForeignKeyError) as caught:
        load_foreign_key(to_pkcs8(key), Algorithm.EC_P384, pem_of(key))

    assert secret not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert public_key_info(key).fingerprint_sha256 not in str(caught.value)
