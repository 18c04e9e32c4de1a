"""How a certificate comes to be that is like another: a successor, or a cross-certificate. Pure."""

from datetime import timedelta
from typing import assert_never

from services.certificate.policy.rules import Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import issuance, limits
from services.certificate.x509.effects import AuthorityRead, PredecessorFetched, Wanted
from services.certificate.x509.states import Created, Issued, Revoked, Unborn
from shared.contracts.certificate.value_types import Profile
from shared.decider import Context

_RENEWABLE = timedelta(days=30)
"""For so long after its end a certificate can still be renewed: its holder may have been away."""


def renew(policy: Policy, heard: PredecessorFetched, context: Context) -> issuance.Decision:
    """Like its predecessor: who may be renewed, and what then is asked for."""
    request, predecessor = heard.request, heard.predecessor
    match predecessor:
        case Unborn():
            return limits.missing(request.predecessor_id, " to renew; create another one instead")
        case Created():
            return limits.conflict(f"{request.predecessor_id} is not signed yet; sign it first")
        case Revoked():
            return limits.conflict(
                f"{request.predecessor_id} is revoked and is not renewed; create another one instead"
            )
        case Issued(superseded_by=str(successor)):
            return limits.conflict(f"{request.predecessor_id} is superseded by {successor}: renew that one")
        case Issued(held=True):
            return limits.conflict(f"{request.predecessor_id} is on hold; release it first")
        case Issued():
            return _renew(policy, heard, predecessor, context)
        case _:
            assert_never(predecessor)


def _renew(policy: Policy, heard: PredecessorFetched, predecessor: Issued, context: Context) -> issuance.Decision:
    request, said = heard.request, heard.said
    if said is None:
        problem = f"the certificate of {request.predecessor_id} names somebody in a way that is not judged here"
        return limits.invalid(f"{problem}; create another one instead")
    if context.at > predecessor.not_after + _RENEWABLE:
        problem = f"{request.predecessor_id} ended on {predecessor.not_after.isoformat()}; it is renewed"
        return limits.conflict(f"{problem} for {_RENEWABLE.days} days after its end only: create another one instead")
    same_key = request.public_key_pem is None and request.csr_pem is None
    as_long = round((predecessor.not_after - predecessor.not_before) / timedelta(days=1))
    wanted = Wanted(
        request,
        predecessor.profile,
        predecessor.issuer_id,
        None,
        request.key_id or (predecessor.key_id if same_key else None),
        request.validity_days or max(1, min(as_long, PROFILES[predecessor.profile].max_validity_days)),
        said.common_name,
        said.names,
        said.path_length,
        said.name_constraints,
        predecessor.certificate_pem,
    )
    return issuance.begin(policy, wanted, context)


def cross_certify(policy: Policy, heard: AuthorityRead, context: Context) -> issuance.Decision:
    request, said = heard.request, heard.said
    wanted = Wanted(
        request,
        Profile.INTERMEDIATE,
        request.issuer_id,
        None,
        None,
        request.validity_days,
        said.common_name,
        (),
        request.path_length,
        request.name_constraints,
        request.subject_certificate_pem,
    )
    return issuance.begin(policy, wanted, context)
