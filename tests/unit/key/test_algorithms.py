"""Every algorithm signs what others verify."""

from functools import cache

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.key.crypto import algorithms
from services.key.purposes import SIGNATURE_ALGORITHMS
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm

MESSAGE = b"the bytes to sign, not a digest of them"
DIGESTS = {
    SignatureAlgorithm.RSA_PKCS1_SHA256: hashes.SHA256(),
    SignatureAlgorithm.RSA_PKCS1_SHA384: hashes.SHA384(),
    SignatureAlgorithm.ECDSA_SHA256: hashes.SHA256(),
    SignatureAlgorithm.ECDSA_SHA384: hashes.SHA384(),
    SignatureAlgorithm.ED25519: None,
    SignatureAlgorithm.ML_DSA_65: None,
}
PAIRS = [(algorithm, fitting) for algorithm, all_fitting in SIGNATURE_ALGORITHMS.items() for fitting in all_fitting]


@cache
def private(algorithm=Algorithm.EC_P256):
    return algorithms.generate(algorithm)


def verify(public, algorithm, signature, message):
    match public:
        case rsa.RSAPublicKey():
            public.verify(signature, message, padding.PKCS1v15(), DIGESTS[algorithm])
        case ec.EllipticCurvePublicKey():
            public.verify(signature, message, ec.ECDSA(DIGESTS[algorithm]))
        case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey():
            public.verify(signature, message)


@pytest.mark.parametrize(("algorithm", "signature_algorithm"), PAIRS)
def test_what_a_key_signs_others_verify(algorithm, signature_algorithm):
    public = load_pem_public_key(algorithms.public_key_info(private(algorithm)).pem.encode())

    signature = algorithms.sign(private(algorithm), signature_algorithm, MESSAGE)

    verify(public, signature_algorithm, signature, MESSAGE)
    with pytest.raises(InvalidSignature):
        verify(public, signature_algorithm, signature, MESSAGE + b"!")


@pytest.mark.parametrize(("algorithm", "signature_algorithm"), PAIRS)
def test_signing_again_gives_the_same_signature_where_it_is_said_to(algorithm, signature_algorithm):
    first, again = (algorithms.sign(private(algorithm), signature_algorithm, MESSAGE) for _ in range(2))

    assert (first == again) == algorithms.is_deterministic(signature_algorithm)
    assert algorithms.is_deterministic(signature_algorithm) == (algorithm is not Algorithm.ML_DSA_65)


def test_a_signature_algorithm_of_another_kind_of_key_is_refused():
    with pytest.raises(TypeError):
        algorithms.sign(private(Algorithm.X25519), SignatureAlgorithm.ED25519, MESSAGE)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_survives_its_pkcs8(algorithm):
    der = algorithms.to_pkcs8(private(algorithm))

    assert algorithms.public_key_info(algorithms.from_pkcs8(der)) == algorithms.public_key_info(private(algorithm))


@pytest.mark.parametrize(
    ("algorithm", "size"), [(Algorithm.RSA_2048, 2048), (Algorithm.RSA_3072, 3072), (Algorithm.RSA_4096, 4096)]
)
def test_an_rsa_key_is_as_long_as_asked(algorithm, size):
    assert private(algorithm).key_size == size
