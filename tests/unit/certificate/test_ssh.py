"""The SSH certificate decider with its performer; ssh-keygen checks the certificates."""

import asyncio
import base64
import shutil
import subprocess
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.certificate.ssh import performer
from services.certificate.ssh.domain import SSH_CERTIFICATE
from services.certificate.ssh.effects import BuildSshTbs
from services.key.crypto.algorithms import sign
from shared.contracts.certificate.ssh import (
    CreateSshCertificate,
    RevokeSshCertificate,
    SignSshCertificate,
    SshCertificateCreated,
    SshCertificateKind,
    SshCertificateRevoked,
    SshCertificateSigned,
    SshExtension,
)
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Context, Rejection, run
from tests.support.scenario import COMMAND_ID, NOON, Scenario

ID, CA_KEY_ID, OTHER_ID = (f"0192f0c1-0000-7000-8000-00000000000{n}" for n in range(3))
KEYS = {
    SignatureAlgorithm.ED25519: ed25519.Ed25519PrivateKey.generate(),
    SignatureAlgorithm.ECDSA_SHA256: ec.generate_private_key(ec.SECP256R1()),
    SignatureAlgorithm.ECDSA_SHA384: ec.generate_private_key(ec.SECP384R1()),
    SignatureAlgorithm.RSA_PKCS1_SHA256: rsa.generate_private_key(65537, 2048),
}
ALICE = ed25519.Ed25519PrivateKey.generate()
ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="this machine has no ssh-keygen to judge")


def _line(private):
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _pem(private):
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _request(**changes):
    standard = {
        "ssh_certificate_id": ID,
        "kind": SshCertificateKind.USER,
        "public_key": _line(ALICE) + " alice@laptop",
        "key_identity": "alice@acme.example",
        "principals": ("alice", "deploy"),
        "validity_minutes": 60,
        "signing_key_id": CA_KEY_ID,
        "ca_public_key_pem": _pem(KEYS[SignatureAlgorithm.ED25519]),
    }
    return CreateSshCertificate(**{**standard, **changes})


def _ask(command, *history, at=NOON):
    state = SSH_CERTIFICATE.initial
    for event in history:
        state = SSH_CERTIFICATE.evolve(state, event)
    context = Context(command_id=COMMAND_ID, aggregate_id=ID, at=at)
    return asyncio.run(run(SSH_CERTIFICATE, performer.perform, state, command, context))


def _signed(request, algorithm):
    created = _ask(request)
    assert isinstance(created, SshCertificateCreated), created
    assert created.signature_algorithm is algorithm
    signature = sign(KEYS[algorithm], algorithm, created.tbs)
    return created, _ask(SignSshCertificate(ssh_certificate_id=ID, signature=signature), created)


def _described(tmp_path, certificate):
    (tmp_path / "id-cert.pub").write_text(certificate + "\n")
    command = ["ssh-keygen", "-L", "-f", str(tmp_path / "id-cert.pub")]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"}).stdout


# --- created -----------------------------------------------------------------------


def test_a_certificate_is_valid_from_a_little_before_it_was_asked_for():
    request = _request()
    until = NOON + timedelta(minutes=60)

    Scenario(SSH_CERTIFICATE).when(request).then_performs(BuildSshTbs(request, NOON - timedelta(minutes=5), until))


def test_what_is_to_be_signed_stands_in_the_event():
    created = _ask(_request())

    assert created.principals == ("alice", "deploy")
    assert created.valid_before == NOON + timedelta(minutes=60)
    assert _pem(KEYS[SignatureAlgorithm.ED25519]) == created.ca_public_key_pem
    assert 0 < int(created.serial) < 2**64


def test_no_two_have_the_same_serial_or_nonce():
    assert len({_ask(_request()).tbs for _ in range(64)}) == 64
    assert len({_ask(_request()).serial for _ in range(64)}) == 64


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"public_key": "ssh-dss AAAAB3NzaC1kc3MAAACB"}, "authorized_keys"),
        ({"public_key": "ssh-ed25519 AAAAnotbase64atall="}, "authorized_keys"),
        ({"public_key": "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5"}, "is a certificate"),
        ({"public_key": _line(ec.generate_private_key(ec.SECP521R1()))}, "P-384"),
        ({"public_key": _line(rsa.generate_private_key(65537, 1024))}, "2048"),  # noqa: S505 - it is to be refused
        ({"public_key": _line(KEYS[SignatureAlgorithm.ED25519])}, "CA's own"),
        ({"ca_public_key_pem": "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n"}, "ca_public_key_pem"),
        ({"principals": ("*",)}, "wildcard"),
        ({"source_addresses": ("10.0.0.1/8",)}, "CIDR"),
        ({"kind": SshCertificateKind.HOST, "force_command": "ls"}, "host"),
        ({"kind": SshCertificateKind.HOST, "extensions": (SshExtension.PERMIT_PTY,)}, "host"),
        ({"kind": SshCertificateKind.HOST, "principals": ("alice@acme",)}, "host names"),
    ],
)
def test_a_mistake_in_a_request_is_refused_with_the_reason(changes, word):
    answer = _ask(_request(**changes))

    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.INVALID
    assert word in answer.message


def test_asking_again_changes_nothing_and_for_another_is_refused():
    created = _ask(_request())

    Scenario(SSH_CERTIFICATE).given(created).when(_request()).then_already_done()
    Scenario(SSH_CERTIFICATE).given(created).when(_request(signing_key_id=OTHER_ID)).then_rejects(
        RejectionCode.CONFLICT
    )


# --- signed ------------------------------------------------------------------------


@ssh_keygen
@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("subject", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("kind", SshCertificateKind)
def test_openssh_reads_what_was_signed(tmp_path, algorithm, subject, kind):
    if subject is KEYS[algorithm]:
        subject = ALICE
    request = _request(ca_public_key_pem=_pem(KEYS[algorithm]), public_key=_line(subject), kind=kind)
    _, signed = _signed(request, algorithm)

    text = _described(tmp_path, signed.certificate)

    assert f"{kind} certificate" in text
    assert 'Key ID: "alice@acme.example"' in text
    assert f"Serial: {signed.serial}" in text
    assert "from 2026-11-21T11:55:00 to 2026-11-21T13:00:00" in text
    assert ("permit-pty" in text) is (kind is SshCertificateKind.USER)


@ssh_keygen
def test_openssh_reads_the_critical_options_and_only_the_extensions_that_were_asked_for(tmp_path):
    request = _request(
        force_command="/usr/bin/uptime",
        source_addresses=("192.0.2.0/24", "2001:db8::/32"),
        extensions=(SshExtension.PERMIT_USER_RC, SshExtension.PERMIT_PTY),
    )
    _, signed = _signed(request, SignatureAlgorithm.ED25519)

    text = _described(tmp_path, signed.certificate)

    assert "force-command /usr/bin/uptime" in text
    assert "source-address 192.0.2.0/24,2001:db8::/32" in text
    assert [line.strip() for line in text.splitlines() if "permit" in line] == ["permit-pty", "permit-user-rc"]


def test_a_signature_over_something_else_is_refused():
    created = _ask(_request())
    signature = sign(KEYS[SignatureAlgorithm.ED25519], SignatureAlgorithm.ED25519, created.tbs + b"!")

    answer = _ask(SignSshCertificate(ssh_certificate_id=ID, signature=signature), created)

    assert isinstance(answer, Rejection)
    assert "does not verify" in answer.message


def test_the_signed_certificate_carries_the_very_bytes_of_the_intent():
    created, signed = _signed(_request(), SignatureAlgorithm.ED25519)

    assert isinstance(signed, SshCertificateSigned)
    assert base64.b64decode(signed.certificate.split(" ")[1]).startswith(created.tbs)


def test_a_signature_that_comes_again_changes_nothing():
    created, signed = _signed(_request(), SignatureAlgorithm.ED25519)

    command = SignSshCertificate(ssh_certificate_id=ID, signature=b"whatever")
    Scenario(SSH_CERTIFICATE).given(created, signed).when(command).then_already_done()


def test_what_was_never_created_is_not_signed():
    command = SignSshCertificate(ssh_certificate_id=ID, signature=b"whatever")

    Scenario(SSH_CERTIFICATE).when(command).then_rejects(RejectionCode.NOT_FOUND, "create it first")


# --- revoked -----------------------------------------------------------------------

REVOKED = SshCertificateRevoked(ssh_certificate_id=ID, reason="lost", serial="1")


def test_a_certificate_is_revoked_once():
    created = _ask(_request())
    revoke = RevokeSshCertificate(ssh_certificate_id=ID, reason="lost")

    expected = REVOKED.model_copy(update={"serial": created.serial})
    Scenario(SSH_CERTIFICATE).given(created).when(revoke).then(expected)
    Scenario(SSH_CERTIFICATE).given(created, expected).when(revoke).then_already_done()


def test_what_never_was_is_voided_only_on_demand():
    revoke = RevokeSshCertificate(ssh_certificate_id=ID, reason="lost")
    voided = REVOKED.model_copy(update={"serial": None, "existed": False})

    Scenario(SSH_CERTIFICATE).when(revoke).then_rejects(RejectionCode.NOT_FOUND, "void_if_absent")
    Scenario(SSH_CERTIFICATE).when(revoke.model_copy(update={"void_if_absent": True})).then(voided)


def test_what_is_revoked_is_neither_signed_nor_created_again():
    sign_it = SignSshCertificate(ssh_certificate_id=ID, signature=b"whatever")

    Scenario(SSH_CERTIFICATE).given(REVOKED).when(sign_it).then_rejects(RejectionCode.CONFLICT, "revoked")
    Scenario(SSH_CERTIFICATE).given(REVOKED).when(_request()).then_rejects(
        RejectionCode.CONFLICT, "new ssh_certificate_id"
    )


def test_times_are_whole_seconds_of_utc():
    late = datetime.fromisoformat("2040-02-29T23:59:59.999999+00:00")

    assert _ask(_request(), at=late).valid_after == datetime.fromisoformat("2040-02-29T23:54:59+00:00")
