"""Virtual YubiKeys for tests, and certificates for their keys."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from services.virtual_yubikey import VirtualYubiKeys
from services.yubikey.performer.devices import DeviceConfiguration
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.session import CandidateSecrets, open_piv
from services.yubikey.readers.virtual import VirtualDevices
from services.yubikey.roles import read_roles
from services.yubikey.state.credentials import Credentials
from services.yubikey.trust import Trust
from shared.contracts.key.value_types import Algorithm
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy

SERIAL, OTHER = 42000001, 42000002
SLOT_9A = Slot.AUTHENTICATION
POLICIES = (PinPolicy.ONCE, TouchPolicy.NEVER)


class OldDevices(VirtualDevices):
    """Virtual devices of an older firmware."""

    def __init__(self, directory, firmware):
        self._yubikeys = VirtualYubiKeys(directory, bytes(32), [SERIAL], firmware)
        self.trust = Trust((self._yubikeys.attestation_root(),))


def plugged_in(directory):
    return VirtualDevices(directory / "virtual", bytes(32), [SERIAL, OTHER])


def opening(devices, serial=SERIAL, management_key=DEFAULT_MANAGEMENT_KEY):
    return open_piv(devices.open(serial), serial, devices, CandidateSecrets((management_key,)))


def generate(devices, algorithm=Algorithm.EC_P256, serial=SERIAL, slot=SLOT_9A):
    with opening(devices, serial) as device:
        authenticate(device)
        device.fill(slot, algorithm, *POLICIES, None)
        return device.read(slot).key


def certify(public_key, issuer_key=None, issuer=None, name="somebody", ca=False):  # noqa: FBT002 - a field's value
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(issuer_key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def keeping(bucket, management_key=DEFAULT_MANAGEMENT_KEY):
    """The performer's configuration: secrets in *bucket*, and the shipped roles."""
    return DeviceConfiguration(Credentials(bucket, bytes(32)), read_roles(None), management_key)
