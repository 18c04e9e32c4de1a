"""What a certificate may be asked for, whoever asks: by which issuer, signed with which key, for how long. Pure."""

from datetime import datetime, timedelta
from typing import NamedTuple

from services.certificate.names import subtrees
from services.certificate.names.syntax import check_names
from services.certificate.profiles import KEY_TYPES, PROFILES, RSA_BITS, check_key
from services.certificate.x509.effects import Authority, Wanted
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import CheckIssuance
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection

BACKDATED = timedelta(minutes=5)
"""How far in the past a certificate's life begins: whoever reads it may have a clock that is slow."""
_DAY = timedelta(days=1)


class Validity(NamedTuple):
    """Both ends belong to it (RFC 5280, 4.1.2.5)."""

    begin: datetime
    end: datetime


def refusal(wanted: Wanted, *, ml_dsa: bool) -> Rejection | None:
    """What is wrong with what is *wanted* whoever issues it."""
    rules = PROFILES[wanted.profile]
    if wanted.profile is Profile.ROOT and wanted.issuer_id is not None:
        return invalid("a root is signed by its own key: it has no issuer_id")
    if wanted.profile is not Profile.ROOT and wanted.issuer_id is None:
        return invalid(f"a certificate of profile {wanted.profile} needs an issuer_id")
    if wanted.validity_days > (longest := rules.max_validity_days):
        return invalid(f"a certificate of profile {wanted.profile} may be valid for at most {longest} days")
    if not rules.is_authority and (wanted.path_length is not None or wanted.name_constraints is not None):
        return invalid(f"path_length and name_constraints are an authority's; {wanted.profile} is none")
    if wanted.name_constraints is not None and (flaw := subtrees.malformed(wanted.name_constraints)) is not None:
        return invalid(flaw)
    if isinstance(wanted.request, CheckIssuance) and (problem := _unfit(wanted.request, ml_dsa=ml_dsa)) is not None:
        return invalid(problem)
    if wanted.names is not None and (flaw := check_names(wanted.profile, wanted.common_name, wanted.names)) is not None:
        return invalid(flaw)
    return None


def _unfit(request: CheckIssuance, *, ml_dsa: bool) -> str | None:
    if request.algorithm is Algorithm.ML_DSA_65 and not ml_dsa:
        return "ml-dsa-65 is not enabled here; another algorithm is needed"
    return check_key(request.profile, KEY_TYPES[request.algorithm], RSA_BITS.get(request.algorithm))


def own_key(wanted: Wanted) -> str | Rejection:
    """The key that signs itself."""
    key = wanted.signing_key_id or wanted.key_id
    if key is None:
        return invalid("a root needs key_id or signing_key_id: the key that signs itself")
    if wanted.key_id not in (None, key):
        return invalid("a root is signed by its own key: give one of key_id and signing_key_id, or both the same")
    return key


def fit_issuer(issuer_id: str, issuer: Certificate) -> Issued | Rejection:
    """The issuer, where it may sign something now."""
    match issuer:
        case Unborn():
            problem = f"there is no certificate {issuer_id} to issue with; create and sign it first"
            return Rejection(RejectionCode.NOT_FOUND, problem)
        case Created():
            return conflict(f"the issuer {issuer_id} is not signed yet; sign it first")
        case Revoked():
            return conflict(f"the issuer {issuer_id} is revoked and issues nothing more")
        case Issued(held=True):
            return conflict(f"the issuer {issuer_id} is on hold; release it first")
        case Issued():
            return issuer


def issuer_refusal(wanted: Wanted, issuer: Profile, path: tuple[Authority, ...]) -> Rejection | None:
    """Why an issuer at the beginning of this *path* may not issue what is *wanted*."""
    if not PROFILES[issuer].is_authority:
        problem = f"{wanted.issuer_id} is a {issuer} certificate, not that of an authority: it issues nothing"
        return _not_allowed(problem)
    for above in path[1:]:
        if above.fault is not None:
            return conflict(f"{above.certificate_id}, above the issuer {wanted.issuer_id}, {above.fault}")
    return _too_deep(wanted, issuer, path) or _constrained(wanted, path)


def _too_deep(wanted: Wanted, issuer: Profile, path: tuple[Authority, ...]) -> Rejection | None:
    """RFC 5280, 4.2.1.9: each authority of the path says how many may follow it."""
    room = min((each.path_length - n for n, each in enumerate(path) if each.path_length is not None), default=None)
    if room is None:
        return None
    if room < PROFILES[wanted.profile].is_authority:
        problem = f"the path length of {wanted.issuer_id} ({issuer}) does not allow it to issue: {wanted.profile}"
        return _not_allowed(problem)
    if PROFILES[wanted.profile].is_authority and (wanted.path_length is None or wanted.path_length >= room):
        problem = f"the path length of {wanted.issuer_id} ({issuer}) allows its authorities at most {room - 1}"
        return _not_allowed(problem)
    return None


def _constrained(wanted: Wanted, path: tuple[Authority, ...]) -> Rejection | None:
    for authority in path:
        if authority.unjudged:
            kinds = ", ".join(authority.unjudged)
            return _not_allowed(
                f"{authority.certificate_id} constrains names of kinds that are not judged here: {kinds}"
            )
        if authority.constraints is not None and (
            fault := subtrees.violation(wanted.names or (), authority.constraints)
        ):
            return _not_allowed(f"by the name constraints of {authority.certificate_id}, {fault}")
    return None


def issuing_key(wanted: Wanted, issuer_key: str | None) -> str | Rejection:
    """The key that the issuer's certificate is about, by its id."""
    key = wanted.signing_key_id or issuer_key
    if key is None:
        return invalid(f"signing_key_id is needed: it is not known which key {wanted.issuer_id} is about")
    if issuer_key is not None and key != issuer_key:
        return invalid(f"{wanted.issuer_id} is about the key {issuer_key}, which must be the signing_key_id")
    return key


def validity(days: int, at: datetime, issuer: Validity | None) -> Validity | Rejection:
    """From a little before *at*, *days* long, and within the *issuer*'s own; to the second, as X.509 has it."""
    now = at.replace(microsecond=0)
    asked = Validity(now - BACKDATED, now + days * _DAY)
    if issuer is None:
        return asked
    if not issuer.begin <= now <= issuer.end:
        return conflict(f"the issuer is valid from {issuer.begin.isoformat()} to {issuer.end.isoformat()} only")
    # Issuer and issued, asked for in one breath and for as many days, differ by the time between the two requests.
    if asked.end - issuer.end >= _DAY:
        possible = -((now - issuer.end) // _DAY)
        return invalid(f"it would outlive its issuer; at most {possible} validity_days are possible")
    return Validity(max(asked.begin, issuer.begin), min(asked.end, issuer.end))


def invalid(problem: str) -> Rejection:
    return Rejection(RejectionCode.INVALID, problem)


def conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)


def missing(certificate_id: str, hint: str) -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no certificate {certificate_id}{hint}")


def _not_allowed(problem: str) -> Rejection:
    return Rejection(RejectionCode.NOT_ALLOWED, problem)
