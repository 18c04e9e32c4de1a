"""Limits of issuance that hold under any policy: issuer, signing key, certification path, validity. Pure."""

from datetime import datetime, timedelta
from typing import NamedTuple

from services.certificate.names import subtrees
from services.certificate.names.syntax import check_names
from services.certificate.profiles import KEY_TYPES, PROFILES, RSA_BITS, check_key
from services.certificate.x509.effects import CertificateTemplate, PathIssuer
from services.certificate.x509.rejections import conflict, invalid, not_allowed, not_found
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import CheckIssuance
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import Algorithm
from shared.decider import Rejection

BACKDATED = timedelta(minutes=5)
"""The validity begins this long before issuance, so that relying parties with slow clocks accept the certificate."""

_DAY = timedelta(days=1)


class Validity(NamedTuple):
    """A validity period that includes both ends (RFC 5280, 4.1.2.5)."""

    begin: datetime
    end: datetime


def check_template(template: CertificateTemplate, *, ml_dsa: bool) -> Rejection | None:
    """Checks a template without its issuer: profile, validity, CA fields, key algorithm and names."""
    rules = PROFILES[template.profile]
    if template.profile is Profile.ROOT and template.issuer_id is not None:
        return invalid("a root is signed by its own key: it has no issuer_id")
    if template.profile is not Profile.ROOT and template.issuer_id is None:
        return invalid(f"a certificate of profile {template.profile} needs an issuer_id")
    if template.validity_days > (max_days := rules.max_validity_days):
        return invalid(f"a certificate of profile {template.profile} may be valid for at most {max_days} days")
    if not rules.is_ca and (template.path_length is not None or template.name_constraints is not None):
        return invalid(
            f"only CA certificates have path_length and name_constraints; a {template.profile} certificate has none"
        )
    problem = _name_constraints_problem(template) or _key_problem(template, ml_dsa=ml_dsa) or _names_problem(template)
    return None if problem is None else invalid(problem)


def _name_constraints_problem(template: CertificateTemplate) -> str | None:
    return None if template.name_constraints is None else subtrees.check_constraints(template.name_constraints)


def _key_problem(template: CertificateTemplate, *, ml_dsa: bool) -> str | None:
    """Checks the algorithm of a `check-issuance`; the other commands bring the key, which the performer checks."""
    if not isinstance(template.request, CheckIssuance):
        return None
    algorithm = template.request.algorithm
    if algorithm is Algorithm.ML_DSA_65 and not ml_dsa:
        return "ml-dsa-65 is not enabled here; use another algorithm"
    return check_key(template.profile, KEY_TYPES[algorithm], RSA_BITS.get(algorithm))


def _names_problem(template: CertificateTemplate) -> str | None:
    return None if template.names is None else check_names(template.profile, template.common_name, template.names)


def choose_self_signing_key(template: CertificateTemplate) -> str | Rejection:
    """Returns the id of the key that both signs a root and is certified by it."""
    key = template.signing_key_id or template.key_id
    if key is None:
        return invalid("a root needs key_id or signing_key_id: the key that signs itself")
    if template.key_id not in (None, key):
        return invalid("a root is signed by its own key: give one of key_id and signing_key_id, or both the same")
    return key


def require_usable_issuer(issuer_id: str, issuer: Certificate) -> Issued | Rejection:
    """Returns the issuer if its state allows it to sign."""
    match issuer:
        case Unborn():
            return not_found(issuer_id, " to issue with; create and sign it first")
        case Created():
            return conflict(f"the issuer {issuer_id} is not signed yet; sign it first")
        case Revoked():
            return conflict(f"the issuer {issuer_id} is revoked and can issue nothing; use another issuer")
        case Issued(held=True):
            return conflict(f"the issuer {issuer_id} is on hold; release it first")
        case Issued():
            return issuer


def check_path(template: CertificateTemplate, issuer: Profile, path: tuple[PathIssuer, ...]) -> Rejection | None:
    """Checks a template against the certification path that begins with its issuer."""
    if not PROFILES[issuer].is_ca:
        return not_allowed(
            f"{template.issuer_id} is a {issuer} certificate and not a CA certificate: it issues nothing"
        )
    for above in path[1:]:
        if above.problem is not None:
            return conflict(f"{above.certificate_id}, above the issuer {template.issuer_id}, {above.problem}")
    return _check_path_length(template, issuer, path) or _check_name_constraints(template, path)


def _check_path_length(
    template: CertificateTemplate, issuer: Profile, path: tuple[PathIssuer, ...]
) -> Rejection | None:
    """Applies the path lengths of all CAs of the path: each limits how many may follow it (RFC 5280, 4.2.1.9)."""
    remaining = min((each.path_length - n for n, each in enumerate(path) if each.path_length is not None), default=None)
    if remaining is None:
        return None
    limit, is_ca = f"the path length of {template.issuer_id} ({issuer})", PROFILES[template.profile].is_ca
    if remaining < is_ca:
        return not_allowed(f"{limit} does not allow it to issue: {template.profile}")
    if is_ca and (template.path_length is None or template.path_length >= remaining):
        return not_allowed(f"{limit} allows the CAs below it at most {remaining - 1}")
    return None


def _check_name_constraints(template: CertificateTemplate, path: tuple[PathIssuer, ...]) -> Rejection | None:
    for issuer in path:
        if issuer.unsupported:
            kinds = ", ".join(issuer.unsupported)
            return not_allowed(
                f"{issuer.certificate_id} constrains names of kinds that cannot be checked here: {kinds}"
            )
        if issuer.name_constraints is not None and (
            problem := subtrees.find_violation(template.names or (), issuer.name_constraints)
        ):
            return not_allowed(f"by the name constraints of {issuer.certificate_id}, {problem}")
    return None


def choose_issuing_key(template: CertificateTemplate, issuer_key_id: str | None) -> str | Rejection:
    """Returns the id of the issuer's key; the request has to give it if the issuer's certificate has no key_id."""
    key = template.signing_key_id or issuer_key_id
    if key is None:
        return invalid(f"signing_key_id is needed: the certificate of {template.issuer_id} was stored without a key_id")
    if issuer_key_id is not None and key != issuer_key_id:
        return invalid(f"the key of {template.issuer_id} is {issuer_key_id}, which must be the signing_key_id")
    return key


def compute_validity(days: int, at: datetime, issuer: Validity | None) -> Validity | Rejection:
    """Computes a validity of *days* from shortly before *at*, cut to the *issuer*'s, in whole seconds as in X.509."""
    now = at.replace(microsecond=0)
    requested = Validity(now - BACKDATED, now + days * _DAY)
    if issuer is None:
        return requested
    if not issuer.begin <= now <= issuer.end:
        return conflict(f"the issuer is valid from {issuer.begin.isoformat()} to {issuer.end.isoformat()} only")
    # Less than a day is cut without an error: a CA and its certificate, requested one after the other for the same
    # number of days, differ by the time between the two requests.
    if requested.end - issuer.end >= _DAY:
        possible = -((now - issuer.end) // _DAY)
        return invalid(f"it would outlive its issuer; at most {possible} validity_days are possible")
    return Validity(max(requested.begin, issuer.begin), min(requested.end, issuer.end))
