"""What a certificate may be asked for: by whom it may be issued, signed with which key, for how long. Pure."""

from datetime import datetime, timedelta
from typing import NamedTuple

from services.certificate.effects import Request
from services.certificate.profiles import KEY_TYPES, PROFILES, misfit
from shared.contracts.certificate import CheckIssuance, CreateCertificate
from shared.contracts.command import RefusalCode
from shared.contracts.naming import Profile
from shared.decider import Refused

BACKDATED = timedelta(minutes=5)
"""How far in the past a certificate's life begins: whoever reads it may have a clock that is slow."""
_DAY = timedelta(days=1)


class Validity(NamedTuple):
    """Both ends belong to it (RFC 5280, 4.1.2.5)."""

    begin: datetime
    end: datetime


def refusal(request: Request) -> Refused | None:
    """What is wrong with *request* whoever issues it."""
    if request.profile is Profile.ROOT and request.issuer_id is not None:
        return _invalid("a root is signed by its own key: it has no issuer_id")
    if request.profile is not Profile.ROOT and request.issuer_id is None:
        return _invalid(f"a certificate of profile {request.profile} needs an issuer_id")
    if request.validity_days > (longest := PROFILES[request.profile].longest_days):
        return _invalid(f"a certificate of profile {request.profile} may be valid for at most {longest} days")
    if isinstance(request, CheckIssuance) and (problem := misfit(request.profile, KEY_TYPES[request.algorithm])):
        return _invalid(problem)
    return None


def own_key(request: CreateCertificate) -> str | Refused:
    """The key that signs itself."""
    key = request.signing_key_id or request.key_id
    if key is None:
        return _invalid("a root needs key_id or signing_key_id: the key that signs itself")
    if request.key_id not in (None, key):
        return _invalid("a root is signed by its own key: give one of key_id and signing_key_id, or both the same")
    return key


def issuer_refusal(request: Request, issuer: Profile) -> Refused | None:
    if not PROFILES[issuer].is_authority:
        problem = f"{request.issuer_id} is a {issuer} certificate, not that of an authority: it issues nothing"
        return Refused(RefusalCode.NOT_ALLOWED, problem)
    if not PROFILES[issuer].may_issue(PROFILES[request.profile]):
        problem = f"the path length of {request.issuer_id} ({issuer}) does not allow it to issue: {request.profile}"
        return Refused(RefusalCode.NOT_ALLOWED, problem)
    return None


def issuing_key(request: Request, issuer_key: str | None) -> str | Refused:
    """The key that the issuer's certificate is about, by its id."""
    key = request.signing_key_id or issuer_key
    if key is None:
        return _invalid(f"signing_key_id is needed: it is not known which key {request.issuer_id} is about")
    if issuer_key is not None and key != issuer_key:
        return _invalid(f"{request.issuer_id} is about the key {issuer_key}, which must be the signing_key_id")
    return key


def validity(days: int, at: datetime, issuer: Validity | None) -> Validity | Refused:
    """From a little before *at*, *days* long, and within the *issuer*'s own; to the second, as X.509 has it."""
    now = at.replace(microsecond=0)
    asked = Validity(now - BACKDATED, now + days * _DAY)
    if issuer is None:
        return asked
    if not issuer.begin <= now <= issuer.end:
        problem = f"the issuer is valid from {issuer.begin.isoformat()} to {issuer.end.isoformat()} only"
        return Refused(RefusalCode.CONFLICT, problem)
    # Issuer and issued, asked for in one breath and for as many days, differ by the time between the two requests.
    if asked.end - issuer.end >= _DAY:
        possible = -((now - issuer.end) // _DAY)
        return _invalid(f"it would outlive its issuer; at most {possible} validity_days are possible")
    return Validity(max(asked.begin, issuer.begin), min(asked.end, issuer.end))


def _invalid(problem: str) -> Refused:
    return Refused(RefusalCode.INVALID, problem)
