"""What the decider of SSH certificates may ask of the world, each followed by what it can hear back."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.ssh.states import Created
from shared.contracts.certificate.ssh import CreateSshCertificate
from shared.contracts.key.vocabulary import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class BuildSshTbs:
    request: CreateSshCertificate
    valid_after: datetime
    valid_before: datetime


@dataclass(frozen=True, slots=True)
class SshTbsBuilt:
    plan: BuildSshTbs
    tbs: bytes
    serial: int
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class SshRequestUnfit:
    reason: str


@dataclass(frozen=True, slots=True)
class AttachSshSignature:
    ssh_certificate_id: str
    created: Created
    signature: bytes


@dataclass(frozen=True, slots=True)
class SshAssembled:
    plan: AttachSshSignature
    certificate: str


@dataclass(frozen=True, slots=True)
class SshSignatureWrong:
    ssh_certificate_id: str


SshEffect = BuildSshTbs | AttachSshSignature
SshOutcome = SshTbsBuilt | SshRequestUnfit | SshAssembled | SshSignatureWrong
