"""A whole path, validated from its anchor down to its leaf (RFC 5280, 6.1; RFC 5937 for what the anchor itself says).

What concerns one certificate in its place (`profile`) and every signature has been looked at when the path was built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509

from services.certificate.verification.budget import WorkBudget
from services.certificate.verification.certificate_checks import withheld
from services.certificate.verification.certificate_policies import without_policy
from services.certificate.verification.crl_checks import RevocationCheck, RevocationStatus, no_revocation_check
from services.certificate.verification.name_constraints import violation
from services.certificate.verification.name_matching import PeerName
from services.certificate.verification.parsed_certificate import ParsedCertificate
from shared.contracts.certificate.value_types import VerifiedUsage


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What a certificate is to be good for: at this instant, for this usage, for all of these names."""

    at: datetime
    usage: VerifiedUsage = VerifiedUsage.ANY
    names: tuple[PeerName, ...] = ()
    revocation: RevocationCheck = no_revocation_check


def invalid(path: Sequence[ParsedCertificate], question: VerifyOptions, work: WorkBudget) -> str | None:
    """What is wrong with *path*, which ends with its anchor; None: it is valid."""
    return (
        _too_long(path)
        or _misused(path, question.usage)
        or _misnamed(path, work)
        or without_policy(path)
        or _revoked(path, question, work)
    )


def _too_long(path: Sequence[ParsedCertificate]) -> str | None:
    """RFC 5280, 6.1.4 (l) and (m): what issues itself another certificate is not counted, and the last one neither."""
    left: int | None = None
    for authority in reversed(path[1:]):
        if authority is not path[-1] and not authority.is_self_issued and left is not None:
            if left == 0:
                return f"{authority.title}: one of its issuers allows no further authority (RFC 5280, 4.2.1.9)"
            left -= 1
        basic = authority.find(x509.BasicConstraints)
        own = None if basic is None else basic.path_length
        if own is not None:
            left = own if left is None else min(left, own)
    return None


def _misused(path: Sequence[ParsedCertificate], usage: VerifiedUsage) -> str | None:
    for authority in path[1:]:
        if (reason := withheld(authority, usage)) is not None:
            return f"{authority.title}: {reason}"
    return None


def _misnamed(path: Sequence[ParsedCertificate], work: WorkBudget) -> str | None:
    """RFC 5280, 6.1.3 (b) and (c): each authority's constraints hold for all below it but what issues itself another.

    That all constraints hold is what the intersection of the permitted and the union of the excluded subtrees say.
    """
    for place, authority in enumerate(path[1:], start=1):
        constraints = authority.find(x509.NameConstraints)
        if constraints is None:
            continue
        for below, certificate in enumerate(path[:place]):
            if certificate.is_self_issued and below > 0:
                continue
            if (reason := violation(constraints, certificate, work)) is not None:
                return f"{certificate.title}: by the name constraints of {authority.title}, {reason}"
    return None


def _revoked(path: Sequence[ParsedCertificate], question: VerifyOptions, work: WorkBudget) -> str | None:
    """RFC 5280, 6.1.3 (a) (3). An anchor is trusted, or it is not: that is settled before."""
    for certificate, issuer in pairwise(path):
        match question.revocation(certificate, issuer, question.at, work):
            case RevocationStatus.GOOD:
                continue
            case RevocationStatus.REVOKED:
                return f"{certificate.title}: it was revoked by then"
            case RevocationStatus.ON_HOLD:
                return f"{certificate.title}: it was on hold then"
            case RevocationStatus.UNDETERMINED:
                return f"{certificate.title}: no CRL that can be relied on tells whether it was revoked"
    return None
