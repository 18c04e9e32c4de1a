"""Custody of keys for OCSP responses, SSH certificates and NATS JWTs: each rule, by a deliberate defect."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from services.key.custody.nats_jwts import public_nkey, require_nats_jwt
from services.key.custody.ocsp_responses import require_response_data
from services.key.custody.ssh_certificates import require_ssh_certificate
from services.key.custody.tbs import NotSignableError
from shared.contracts.key.value_types import Purpose, SignatureAlgorithm
from shared.der import sequence
from tests.support.signing_inputs import NOW, crl, extension, key, response_data, root

RESPONDER = key("responder")
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def refused(examine, *arguments, because):
    with pytest.raises(NotSignableError, match=because):
        examine(*arguments)


# -- status answers ----------------------------------------------------------------------------------------------------
def answers(message, algorithm=SignatureAlgorithm.ECDSA_SHA256):
    require_response_data(message, algorithm, RESPONDER.public_key())


def test_a_responders_own_answer_is_signed():
    answers(response_data(RESPONDER.public_key()))


def test_a_nonce_does_not_matter():
    answers(response_data(RESPONDER.public_key(), extensions=[extension(x509.OCSPNonce(b"12345678"))]))


def test_the_answer_of_another_responder_is_refused():
    refused(answers, response_data(key("other").public_key()), because="its responder is another key")


def test_a_responder_by_its_name_is_refused():
    by_name = response_data(RESPONDER.public_key(), by=ocsp.OCSPResponderEncoding.NAME)

    refused(answers, by_name, because="by its key, not by its name")


def test_an_answer_that_stands_for_more_than_a_month_is_refused():
    answers(response_data(RESPONDER.public_key(), ends=NOW + timedelta(days=31)))
    lasting = response_data(RESPONDER.public_key(), ends=NOW + timedelta(days=31, seconds=1))

    refused(answers, lasting, because="within 31 days")


def test_an_answer_that_stands_for_ever_is_refused():
    refused(answers, response_data(RESPONDER.public_key(), ends=None), because="no nextUpdate")


def test_two_answers_in_one_are_refused():
    double = _with_two_single_responses(response_data(RESPONDER.public_key()))

    refused(answers, double, because="2 single responses")


def _with_two_single_responses(message):
    """The last element of a ResponseData is the SEQUENCE of its answers: each of them twice."""
    body = _content(message)
    position, parts = 0, []
    while position < len(body):
        end = _end(body, position)
        parts.append(body[position:end])
        position = end
    return sequence(*parts[:-1], sequence(_content(parts[-1]) * 2))


def _content(element):
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def _end(encoded, at):
    length, start = encoded[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(encoded[at + 2 : start])
    return start + length


def test_a_critical_extension_of_an_answer_is_refused():
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    message = response_data(RESPONDER.public_key(), extensions=[extension(unknown, critical=True)])

    refused(answers, message, because="not understood")


@pytest.mark.parametrize(
    "message", [b"", b"hello", root(RESPONDER.public_key()).tbs(), crl(root(RESPONDER.public_key()))]
)
def test_what_is_no_status_answer_is_refused(message):
    refused(answers, message, because="no ResponseData")


def test_a_status_answer_with_a_tail_is_refused():
    refused(answers, response_data(RESPONDER.public_key()) + b"\x05\x00", because="ResponseData")


@pytest.mark.filterwarnings("ignore")
@given(st.data())
def test_a_damaged_status_answer_is_taken_or_refused_and_never_an_accident(data):
    damaged = bytearray(response_data(RESPONDER.public_key()))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        answers(bytes(damaged))
    except NotSignableError as refusal:
        assert str(refusal)  # noqa: PT017 - either way is right; a third would be an error


# -- SSH certificates --------------------------------------------------------------------------------------------------
BEGINS = 1_763_683_200
SSH_KEYS = [ED25519, key("ssh"), ec.derive_private_key(4711, ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]


def ssh_certificate(signer=ED25519, **changes):
    """All but the signature of an OpenSSH certificate."""
    builder = (
        SSHCertificateBuilder()
        .public_key(changes.get("public", OTHER.public_key()))
        .serial(changes.get("serial", 1))
        .type(changes.get("type", SSHCertificateType.USER))
        .key_id(b"ada")
        .valid_after(changes.get("begins", BEGINS))
        .valid_before(changes.get("ends", BEGINS + 86_400))
    )
    principals = changes.get("principals", [b"ada"])
    builder = builder.valid_principals(principals) if principals else builder.valid_for_all_principals()
    for option in changes.get("options", ()):
        builder = builder.add_critical_option(option, b"x")
    finished = builder.add_extension(b"permit-pty", b"").sign(signer)
    blob = base64.b64decode(finished.public_bytes().split(b" ")[1])
    own = ssh_blob(signer.public_key())
    return blob[: blob.rindex(own) + len(own)]


def ssh_blob(public):
    return base64.b64decode(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])


@pytest.mark.parametrize("signer", SSH_KEYS)
@pytest.mark.parametrize("kind", SSHCertificateType)
def test_ssh_certificates_of_users_and_hosts_are_signed(signer, kind):
    require_ssh_certificate(ssh_certificate(signer, type=kind), signer.public_key())


def test_known_critical_options_are_signed():
    options = [b"force-command", b"source-address"]

    require_ssh_certificate(ssh_certificate(options=options), ED25519.public_key())


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"signer": OTHER, "public": ED25519.public_key()}, "signature key is another"),
        ({"serial": 0}, "serial is zero"),
        ({"principals": []}, "no principal"),
        ({"ends": 2**64 - 1}, "within ten years"),
        ({"begins": 0}, "within ten years"),
        ({"ends": BEGINS + 3653 * 86_400 + 1}, "within ten years"),
        ({"ends": BEGINS}, "after it begins"),
        ({"options": [b"verify-required"]}, "critical option verify-required is not understood"),
        ({"public": ED25519.public_key()}, "about the key that signs it"),
    ],
)
def test_an_ssh_certificate_that_says_too_much_is_refused(changes, because):
    refused(require_ssh_certificate, ssh_certificate(**changes), ED25519.public_key(), because=because)


def test_an_ssh_certificate_of_another_type_is_refused():
    neither = ssh_certificate().replace(b"\0\0\0\x01\0\0\0\x03ada", b"\0\0\0\x03\0\0\0\x03ada")

    refused(require_ssh_certificate, neither, ED25519.public_key(), because="no OpenSSH certificate")


def test_a_reserved_field_is_empty():
    end = b"\0\0\0\0" + b"\0\0\0\x33\0\0\0\x0bssh-ed25519"
    filled = ssh_certificate().replace(end, b"\0\0\0\x01x" + end[4:])

    refused(require_ssh_certificate, filled, ED25519.public_key(), because="signature key is another")


@pytest.mark.parametrize("message", [b"", b"hello", ssh_certificate() + b"\0\0\0\0", ssh_certificate()[:-1], bytes(60)])
def test_what_is_no_ssh_certificate_is_refused(message):
    refused(require_ssh_certificate, message, ED25519.public_key(), because="no OpenSSH certificate")


def test_a_key_on_its_own_is_refused():
    refused(
        require_ssh_certificate, ssh_blob(OTHER.public_key()), ED25519.public_key(), because="no OpenSSH certificate"
    )


@given(st.data())
def test_a_damaged_ssh_certificate_is_taken_or_refused_and_never_an_accident(data):
    damaged = bytearray(ssh_certificate())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        require_ssh_certificate(bytes(damaged), ED25519.public_key())
    except NotSignableError as refusal:
        assert str(refusal)  # noqa: PT017 - either way is right; a third would be an error


# -- JWTs of NATS ------------------------------------------------------------------------------------------------------
OPERATOR, ACCOUNT, USER = Purpose.NATS_OPERATOR, Purpose.NATS_ACCOUNT, Purpose.NATS_USER


def nkey(purpose, private=ED25519):
    return public_nkey(purpose, private.public_key().public_bytes_raw())


def encoded(content):
    text = content if isinstance(content, str) else json.dumps(content)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


def token(claims, header=None):
    return encoded(header or {"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + encoded(claims)


def claims(signer=ACCOUNT, kind="user", subject=None, **changes):
    of = {"operator": OPERATOR, "account": ACCOUNT, "user": USER, "activation": ACCOUNT}[kind]
    subject = subject or nkey(of, ED25519 if kind == "operator" else OTHER)
    nats = {"type": kind, "version": 2} | changes.pop("nats", {})
    return {"jti": "X", "iat": 1, "iss": nkey(signer), "name": "x", "sub": subject, "nats": nats} | changes


@pytest.mark.parametrize(
    ("purpose", "kind"), [(OPERATOR, "operator"), (OPERATOR, "account"), (ACCOUNT, "user"), (ACCOUNT, "activation")]
)
def test_a_key_of_nats_signs_what_is_next_in_the_chain_of_trust(purpose, kind):
    require_nats_jwt(token(claims(purpose, kind)), purpose, ED25519.public_key())


@pytest.mark.parametrize(
    ("purpose", "message", "because"),
    [
        (USER, token(claims()), "nats-user signs nothing"),
        (Purpose.NATS_SERVER, token(claims()), "nats-server signs nothing"),
        (ACCOUNT, b"hello", "no signing input"),
        (ACCOUNT, b"a.b.c", "no signing input"),
        (ACCOUNT, token(claims()) + b"=", "no signing input"),
        (ACCOUNT, token([]), "no signing input"),
        (ACCOUNT, token(json.dumps(claims())[:-1] + ', "iss": "twice"}'), "occurs twice"),
        (ACCOUNT, token(claims(), {"typ": "JWT", "alg": "none"}), "the header of the JWT must be"),
        (ACCOUNT, token(claims(), {"typ": "JWT", "alg": "ed25519-nkey", "x": 1}), "the header of the JWT must be"),
        (ACCOUNT, token(claims(iss=nkey(ACCOUNT, OTHER))), "iss is another key"),
        (ACCOUNT, token(claims(OPERATOR)), "iss is another key"),
        (ACCOUNT, token(claims() | {"Sub": "x"}), "claim 'Sub' is not one"),
        (ACCOUNT, token(claims(nats={"Type": "operator"})), "no nats object with lower-case field names"),
        (ACCOUNT, token(claims() | {"nats": None}), "no nats object"),
        (ACCOUNT, token(claims(nats={"version": 1})), "nats.version must be 2"),
        (ACCOUNT, token(claims(ACCOUNT, "account")), "signs tokens of nats.type user, activation, not 'account'"),
        (ACCOUNT, token(claims(nats={"type": None})), "signs tokens of nats.type"),
        (OPERATOR, token(claims(OPERATOR, "user")), "signs tokens of nats.type operator, account, not 'user'"),
        (OPERATOR, token(claims(OPERATOR, "operator", nkey(OPERATOR, OTHER))), "sub must be iss"),
        (OPERATOR, token(claims(OPERATOR, "account", nkey(USER, OTHER))), "sub is no public key of a account"),
        (ACCOUNT, token(claims(subject=nkey(USER, OTHER)[:-1] + "A")), "sub is no public key of a user"),
        (ACCOUNT, token(claims(subject="Ünsinn")), "sub is no public key of a user"),
    ],
)
def test_another_token_is_refused(purpose, message, because):
    refused(require_nats_jwt, message, purpose, ED25519.public_key(), because=because)


def test_a_key_that_is_no_nkey_signs_no_token():
    refused(require_nats_jwt, token(claims()), ACCOUNT, key().public_key(), because="an Ed25519 key")


@given(st.binary(max_size=80) | st.recursive(st.text() | st.none(), st.lists).map(token))
def test_any_other_bytes_are_refused_and_never_an_accident(message):
    refused(require_nats_jwt, message, ACCOUNT, ED25519.public_key(), because="JWT")
