"""Templates copied from existing certificates: renewal of a predecessor, and cross-certification of a CA. Pure."""

from datetime import timedelta
from typing import assert_never

from services.certificate.policy.rules import Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import issuance
from services.certificate.x509.effects import (
    CaCertificateRead,
    CertificateDecision,
    CertificateTemplate,
    PredecessorFetched,
)
from services.certificate.x509.rejections import conflict, invalid, not_found
from services.certificate.x509.states import Created, Issued, Revoked, Unborn
from shared.contracts.certificate.value_types import Profile
from shared.decider import Context

_GRACE_PERIOD = timedelta(days=30)
"""The period after expiry in which a certificate can still be renewed: its holder may have been absent."""


def renew(policy: Policy, fetched: PredecessorFetched, context: Context) -> CertificateDecision:
    """Renews a predecessor that is issued, not superseded and not on hold."""
    predecessor_id, predecessor = fetched.request.predecessor_id, fetched.predecessor
    match predecessor:
        case Unborn():
            return not_found(predecessor_id, " to renew; create another one instead")
        case Created():
            return conflict(f"{predecessor_id} is not signed yet; sign it first")
        case Revoked():
            return conflict(f"{predecessor_id} is revoked and cannot be renewed; create another one instead")
        case Issued(superseded_by=str(successor)):
            return conflict(f"{predecessor_id} is superseded by {successor}: renew that one")
        case Issued(held=True):
            return conflict(f"{predecessor_id} is on hold; release it first")
        case Issued():
            return _renew_issued(policy, fetched, predecessor, context)
        case _:
            assert_never(predecessor)


def _renew_issued(
    policy: Policy, fetched: PredecessorFetched, predecessor: Issued, context: Context
) -> CertificateDecision:
    request, content = fetched.request, fetched.content
    if content is None:
        problem = f"the certificate of {request.predecessor_id} has a subject alternative name of an unsupported kind"
        return invalid(f"{problem}; create another one instead")
    if context.at > predecessor.not_after + _GRACE_PERIOD:
        problem = f"{request.predecessor_id} expired on {predecessor.not_after.isoformat()}"
        return conflict(
            f"{problem} and could be renewed for {_GRACE_PERIOD.days} days after that; create another one instead"
        )
    keeps_key = request.public_key_pem is None and request.csr_pem is None
    previous_days = round((predecessor.not_after - predecessor.not_before) / timedelta(days=1))
    default_days = max(1, min(previous_days, PROFILES[predecessor.profile].max_validity_days))
    template = CertificateTemplate(
        request=request,
        profile=predecessor.profile,
        issuer_id=predecessor.issuer_id,
        key_id=request.key_id or (predecessor.key_id if keeps_key else None),
        validity_days=request.validity_days or default_days,
        common_name=content.common_name,
        names=content.names,
        path_length=content.path_length,
        name_constraints=content.name_constraints,
        source_pem=predecessor.certificate_pem,
    )
    return issuance.apply_template(policy, template, context)


def cross_certify(policy: Policy, parsed: CaCertificateRead, context: Context) -> CertificateDecision:
    """Certifies the key of another CA under its own name, as an intermediate of this issuer."""
    request = parsed.request
    template = CertificateTemplate(
        request=request,
        profile=Profile.INTERMEDIATE,
        issuer_id=request.issuer_id,
        validity_days=request.validity_days,
        common_name=parsed.content.common_name,
        names=(),
        path_length=request.path_length,
        name_constraints=request.name_constraints,
        source_pem=request.subject_certificate_pem,
    )
    return issuance.apply_template(policy, template, context)
