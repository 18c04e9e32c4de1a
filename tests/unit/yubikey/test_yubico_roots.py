"""Yubico's attestation CAs as shipped: compared with their pins, and with attestations of real devices."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from yubikit.piv import PIN_POLICY, SLOT, TOUCH_POLICY

from services.yubikey.piv.attestation import AttestationError, Claim, verify_attestation
from services.yubikey.trust import YUBICO_ROOTS, fingerprint, yubico_trust
from shared.errors import Unusable
from tests.support.yubikeys import certify, generate, opening, plugged_in

STATEMENTS = Path(__file__).parents[2] / "data" / "yubico-attestations"
PIV_ROOT = "63ece914e54dd87915f34033c85af4c0696ba1512f8add66ced738331207b546"
REAL = [
    ("5.4.3-25515003.pem", 25515003, SLOT.SIGNATURE, PIN_POLICY.ALWAYS),
    ("5.4.3-28751258.pem", 28751258, SLOT.SIGNATURE, PIN_POLICY.ALWAYS),
    ("5.4.3-15732500.pem", 15732500, SLOT.AUTHENTICATION, PIN_POLICY.ONCE),
]


def stated(name):
    return x509.load_pem_x509_certificates((STATEMENTS / name).read_bytes())


def claim_of(name, serial, slot, pin_policy):
    return Claim(
        serial=serial,
        slot=slot,
        public_key=stated(name)[0].public_key(),
        pin_policy=pin_policy,
        touch_policy=TOUCH_POLICY.NEVER,
    )


class TestWhatIsShipped:
    def test_every_pinned_root_is_there_and_no_other(self):
        assert {fingerprint(root) for root in yubico_trust().roots} == set(YUBICO_ROOTS)

    def test_every_intermediate_leads_to_the_root_that_is_said(self):
        trust = yubico_trust()
        known = {certificate.subject: certificate for certificate in trust.roots + trust.intermediates}

        assert sorted(c.subject.rfc4514_string() for c in trust.intermediates) == [
            "CN=Yubico Attestation Intermediate A 1",
            "CN=Yubico Attestation Intermediate B 1",
            "CN=Yubico PIV Attestation A 1",
            "CN=Yubico PIV Attestation B 1",
            "CN=Yubico PIV Attestation B2 1",
        ]
        for certificate in trust.intermediates:
            certificate.verify_directly_issued_by(known[certificate.issuer])

    def test_it_is_part_of_the_wheel(self):
        assert "roots/*.pem" in Path("services/yubikey/pyproject.toml").read_text()


class TestRealDevices:
    @pytest.mark.parametrize(("name", "serial", "slot", "pin_policy"), REAL)
    def test_what_they_state_is_proved(self, name, serial, slot, pin_policy):
        proof = verify_attestation(claim_of(name, serial, slot, pin_policy), *stated(name), yubico_trust())

        assert proof.firmware == "5.4.3"
        assert proof.root_fingerprint_sha256 in (PIV_ROOT, *YUBICO_ROOTS)

    def test_one_is_not_taken_for_another(self):
        (first, *of_first), (second, *_) = REAL[:2]
        claim = claim_of(first, *of_first)

        with pytest.raises(AttestationError, match="not signed"):
            verify_attestation(claim, stated(first)[0], stated(second)[1], yubico_trust())

    def test_firmware_that_tells_no_serial_number_proves_nothing(self):
        claim = claim_of("4.3.7-u2f-root.pem", 1, SLOT.AUTHENTICATION, PIN_POLICY.ONCE)

        with pytest.raises(AttestationError, match=r"no extension 1\.3\.6\.1\.4\.1\.41482\.3\.7"):
            verify_attestation(claim, *stated("4.3.7-u2f-root.pem"), yubico_trust())


class TestTheTwoMakesAreNeverMixed:
    @pytest.fixture(name="devices")
    def _devices(self, tmp_path):
        return plugged_in(tmp_path)

    def test_a_real_device_is_not_proved_under_a_virtual_root(self, devices):
        with pytest.raises(AttestationError, match="no root"):
            verify_attestation(claim_of(*REAL[0]), *stated(REAL[0][0]), devices.trust)

    def test_a_virtual_device_is_not_proved_under_yubicos_roots(self, devices):
        key = generate(devices)
        with opening(devices) as device:
            statement = device.statement("9a")
            claim = Claim(
                serial=device.serial,
                slot=SLOT.AUTHENTICATION,
                public_key=key.public_key,
                pin_policy=PIN_POLICY.ONCE,
                touch_policy=TOUCH_POLICY.NEVER,
            )

            with pytest.raises(AttestationError, match="no root"):
                verify_attestation(claim, *statement, yubico_trust())


class TestMoreOfThem:
    def test_an_intermediate_is_added(self, tmp_path):
        issuer = yubico_trust().roots[0]
        later = certify(issuer.public_key(), name="Yubico PIV Attestation C 1", issuer=issuer, ca=True)
        (tmp_path / "later.pem").write_bytes(later.public_bytes(Encoding.PEM))

        assert later in yubico_trust(tmp_path).intermediates
        assert {fingerprint(root) for root in yubico_trust(tmp_path).roots} == set(YUBICO_ROOTS)

    def test_a_directory_with_nothing_in_it_is_unusable(self, tmp_path):
        with pytest.raises(Unusable, match="no certificate"):
            yubico_trust(tmp_path)
