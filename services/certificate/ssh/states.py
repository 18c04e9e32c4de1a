"""States of an SSH certificate: Unborn, Created (built, not signed), Issued, Revoked. A snapshot is one as JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.contracts.certificate.ssh import SshCertificateKind
from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """Built, not signed. *tbs* is base64. *kind* is the state, *certificate_kind* user or host."""

    certificate_kind: SshCertificateKind
    tbs: str
    serial: str
    signing_key_id: str
    signature_algorithm: SignatureAlgorithm
    ca_public_key_pem: str
    key_identity: str
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True)
class Issued:
    serial: str
    signing_key_id: str
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    serial: str | None
    existed: bool
    kind: Literal["revoked"] = "revoked"


SshCertificate = Unborn | Created | Issued | Revoked
