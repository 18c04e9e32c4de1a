"""The forms in which keys are shown and leave, judged by openssl, ssh-keygen where it is, and published examples."""

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, pkcs12

from services.key.crypto import private_formats, public_formats
from services.key.crypto.algorithms import from_pkcs8, generate, public_key_info, spki
from services.key.crypto.private_formats import CertificatesInvalidError
from shared.contracts.key.value_types import Algorithm, PrivateKeyFormat, PublicKeyFormat, Purpose

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@cache
def private(algorithm, which=0):  # noqa: ARG001 - it is the key of the cache
    return generate(algorithm)


def shown(key, form, purpose=Purpose.DIGITAL_SIGNATURE):
    return public_formats.encode_public_key(public_key_info(key).pem, purpose, form)


def certificate(key, issuer_key, *, ca=False, name="key"):
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest).public_bytes(Encoding.PEM).decode()


# -- public ----------------------------------------------------------------------
def test_a_jwk_s_kid_is_its_thumbprint_like_in_rfc_7638():
    """The key of RFC 7638, section 3.1, and the thumbprint that it gives."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q"
        "MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap"
        "JzKnqDKgw"
    )
    public = rsa.RSAPublicNumbers(65537, int.from_bytes(base64.urlsafe_b64decode(n + "=="))).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    jwk = json.loads(public_formats.encode_public_key(pem, Purpose.DIGITAL_SIGNATURE, PublicKeyFormat.JWK))

    assert jwk == {"kty": "RSA", "e": "AQAB", "n": n, "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}


def test_an_ed25519_jwk_is_like_in_rfc_8037():
    """The key of RFC 8037, appendix A.1, and the thumbprint of A.3."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    jwk = json.loads(shown(ed25519.Ed25519PrivateKey.from_private_bytes(seed), PublicKeyFormat.JWK))

    assert jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("algorithm", "members"),
    [
        (Algorithm.EC_P256, {"kty": "EC", "crv": "P-256"}),
        (Algorithm.EC_P384, {"kty": "EC", "crv": "P-384"}),
        (Algorithm.X25519, {"kty": "OKP", "crv": "X25519"}),
        (Algorithm.ML_DSA_65, {"kty": "AKP", "alg": "ML-DSA-65"}),
    ],
)
def test_a_jwk_says_of_what_kind_it_is(algorithm, members):
    jwk = json.loads(shown(private(algorithm), PublicKeyFormat.JWK))

    assert members.items() <= jwk.items()
    assert len(base64.urlsafe_b64decode(jwk["kid"] + "=")) == 32


def test_coordinates_are_as_long_as_their_curve():
    short = next(
        key for key in map(ec.derive_private_key, range(1, 3000), [ec.SECP256R1()] * 3000) if leads_with_zero(key)
    )

    jwk = json.loads(shown(short, PublicKeyFormat.JWK))

    assert [len(base64.urlsafe_b64decode(jwk[axis] + "=")) for axis in "xy"] == [32, 32]


def leads_with_zero(key):
    return key.public_key().public_numbers().x < 1 << 248


@pytest.mark.parametrize("algorithm", Algorithm)
def test_pem_and_der_are_the_same_key(algorithm):
    pem, der = (shown(private(algorithm), form) for form in (PublicKeyFormat.PEM, PublicKeyFormat.DER))

    assert base64.b64decode(der) == base64.b64decode("".join(pem.splitlines()[1:-1]))


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (Algorithm.RSA_2048, "ssh-rsa"),
        (Algorithm.EC_P256, "ecdsa-sha2-nistp256"),
        (Algorithm.EC_P384, "ecdsa-sha2-nistp384"),
        (Algorithm.ED25519, "ssh-ed25519"),
    ],
)
def test_ssh_reads_its_line(algorithm, name, tmp_path):
    line = shown(private(algorithm), PublicKeyFormat.SSH)

    assert line.split()[0] == name
    if shutil.which("ssh-keygen"):
        path = tmp_path / "key.pub"
        path.write_text(line + "\n")
        subprocess.run(["ssh-keygen", "-l", "-f", path], check=True, capture_output=True)


def test_an_nkey_is_shown_as_nats_writes_it():
    assert shown(private(Algorithm.ED25519), PublicKeyFormat.NKEY, Purpose.NATS_USER).startswith("U")


# -- private ---------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.ED25519])
def test_openssl_opens_a_pkcs12(algorithm, tmp_path):
    key, ca = private(algorithm), private(Algorithm.EC_P256, 1)
    chain = (certificate(key, ca), certificate(ca, ca, ca=True, name="issuer"))

    content = json.loads(
        private_formats.encode_private_key(key, Purpose.AUTHENTICATION, PrivateKeyFormat.PKCS12, chain)
    )
    file = tmp_path / "key.p12"
    file.write_bytes(base64.b64decode(content["pkcs12"]))
    openssl = ["openssl", "pkcs12", "-in", file, "-passin", f"pass:{content['password']}"]
    info = subprocess.run([*openssl, "-info", "-noout"], check=True, capture_output=True, text=True).stderr
    nodes = subprocess.run([*openssl, "-nodes"], check=True, capture_output=True, text=True).stdout

    assert "PBES2, PBKDF2, AES-256-CBC" in info
    assert "hmacWithSHA256" in info
    assert "MAC: sha256" in info
    assert nodes.count("BEGIN CERTIFICATE") == 2
    found = load_pem_private_key(nodes[nodes.index("-----BEGIN PRIVATE") :].encode(), None)
    assert spki(found.public_key()) == spki(key.public_key())
    assert len(base64.urlsafe_b64decode(content["password"])) >= 16


def test_a_wrong_password_opens_no_pkcs12():
    content = json.loads(
        private_formats.encode_private_key(
            private(Algorithm.EC_P256), Purpose.AUTHENTICATION, PrivateKeyFormat.PKCS12, ()
        )
    )

    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(base64.b64decode(content["pkcs12"]), b"another")


@pytest.mark.parametrize(
    ("certificates", "word"),
    [
        (lambda: (certificate(private(Algorithm.EC_P256, 1), private(Algorithm.EC_P256)),), "another key"),
        (lambda: ("-----BEGIN CERTIFICATE-----\nnone",), "not PEM"),
    ],
)
def test_a_pkcs12_with_the_wrong_certificates_is_not_made(certificates, word):
    with pytest.raises(CertificatesInvalidError, match=word):
        private_formats.encode_private_key(
            private(Algorithm.EC_P256), Purpose.AUTHENTICATION, PrivateKeyFormat.PKCS12, certificates()
        )


@pytest.mark.parametrize("algorithm", [Algorithm.X25519, Algorithm.ML_DSA_65])
def test_a_key_that_other_readers_do_not_know_goes_into_no_pkcs12(algorithm):
    with pytest.raises(CertificatesInvalidError, match="pkcs8"):
        private_formats.encode_private_key(private(algorithm), Purpose.KEY_MANAGEMENT, PrivateKeyFormat.PKCS12, ())


def test_the_other_forms_are_what_they_are_called():
    key = private(Algorithm.ED25519)

    pkcs8 = private_formats.encode_private_key(key, Purpose.NATS_USER, PrivateKeyFormat.PKCS8, ())
    seed = private_formats.encode_private_key(key, Purpose.NATS_USER, PrivateKeyFormat.NKEY_SEED, ())

    assert public_key_info(from_pkcs8(pkcs8)) == public_key_info(key)
    assert seed.startswith(b"SU")
    with pytest.raises(TypeError):
        private_formats.encode_private_key(
            private(Algorithm.EC_P256), Purpose.NATS_USER, PrivateKeyFormat.NKEY_SEED, ()
        )
