"""Verification of attestations, genuine and altered."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from yubikit.piv import PIN_POLICY, SLOT

from services.yubikey.piv.attestation import AttestationError, Claim, verify_attestation
from services.yubikey.piv.authentication import authenticate
from services.yubikey.readers.virtual import VirtualDevices
from services.yubikey.trust import Trust, fingerprint, yubico_trust
from shared.contracts.key.value_types import Algorithm
from shared.errors import Unusable
from tests.support.yubikeys import OTHER, POLICIES, SERIAL, SLOT_9A, certify, generate, opening, plugged_in


@pytest.fixture(name="devices")
def _devices(tmp_path):
    return plugged_in(tmp_path)


class TestAttestation:
    @pytest.fixture(name="stated")
    def _stated(self, devices):
        key = generate(devices)
        with opening(devices) as device:
            statement, certificate = device.statement(SLOT_9A)
        policies = (key.metadata.pin_policy, key.metadata.touch_policy)
        pin_policy, touch_policy = policies
        claim = Claim(
            serial=SERIAL,
            slot=SLOT.AUTHENTICATION,
            public_key=key.public_key,
            pin_policy=pin_policy,
            touch_policy=touch_policy,
        )
        return claim, statement, certificate

    def test_a_key_made_on_the_device_is_proved(self, devices, stated):
        proof = verify_attestation(*stated, devices.trust)

        assert proof.firmware == "5.7.4"
        assert proof.root_fingerprint_sha256 == fingerprint(devices.trust.roots[0])

    @pytest.mark.parametrize(
        ("false", "reason"),
        [
            ({"serial": OTHER}, "another device"),
            ({"slot": SLOT.SIGNATURE}, "another slot"),
            ({"public_key": ec.generate_private_key(ec.SECP256R1()).public_key()}, "another key"),
            ({"pin_policy": PIN_POLICY.NEVER}, "policies"),
        ],
    )
    def test_a_claim_that_it_does_not_confirm_is_not_proved(self, devices, stated, false, reason):
        claim, *certificates = stated

        with pytest.raises(AttestationError, match=reason):
            verify_attestation(replace(claim, **false), *certificates, devices.trust)

    def test_a_tampered_statement_is_not_proved(self, devices, stated):
        claim, statement, certificate = stated
        der = bytearray(statement.public_bytes(Encoding.DER))
        der[-1] ^= 1

        with pytest.raises(AttestationError, match="not signed"):
            verify_attestation(claim, x509.load_der_x509_certificate(bytes(der)), certificate, devices.trust)

    def test_another_devices_certificate_does_not_stand_behind_it(self, devices, stated):
        claim, statement, _ = stated
        generate(devices, serial=OTHER)
        with opening(devices, OTHER) as device:
            _, other = device.statement(SLOT_9A)

        with pytest.raises(AttestationError, match="not signed"):
            verify_attestation(claim, statement, other, devices.trust)

    def test_a_virtual_device_is_proved_only_under_its_own_root(self, stated, tmp_path):
        elsewhere = VirtualDevices(tmp_path / "elsewhere", bytes(32), [SERIAL])

        for trust in (Trust(), elsewhere.trust):
            with pytest.raises(AttestationError, match="no root"):
                verify_attestation(*stated, trust)

    def test_a_virtual_root_among_yubicos_is_not_trusted(self, devices, tmp_path):
        (tmp_path / "root.pem").write_bytes(devices.trust.roots[0].public_bytes(Encoding.PEM))

        with pytest.raises(Unusable, match="not Yubico's"):
            yubico_trust(tmp_path)

    def test_intermediates_may_stand_between(self, devices, stated):
        claim, statement, device = stated
        made = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        root = certify(made[0].public_key(), made[0], name="root", ca=True)
        names = [root, devices.trust.roots[0]]
        above = reissue(names[1], root, made[0])  # the virtual root, cross-signed by another

        assert verify_attestation(
            claim, statement, device, Trust((root,), (above,))
        ).root_fingerprint_sha256 == fingerprint(root)

    def test_an_imported_key_is_stated_nothing_about(self, devices):
        with opening(devices) as device:
            authenticate(device)
            device.fill(SLOT_9A, Algorithm.EC_P256, *POLICIES, ec.generate_private_key(ec.SECP256R1()))

            assert device.statement(SLOT_9A) is None
            assert not device.read(SLOT_9A).key.metadata.generated


def reissue(certificate, issuer, issuer_key):
    return (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(issuer.subject)
        .public_key(certificate.public_key())
        .serial_number(2)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
