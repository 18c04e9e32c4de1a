"""The certificate decider: creation, signature and revocation, as given-when-then."""

from dataclasses import replace
from datetime import timedelta
from functools import reduce
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.certificate.policy.rules import Policy
from services.certificate.profiles import KEY_TYPES, PROFILES
from services.certificate.x509.domain import certificate_decider
from services.certificate.x509.effects import (
    AttachSignature,
    BuildTbs,
    CertificateAssembled,
    FetchIssuer,
    FetchRelated,
    IssuerFetched,
    PathIssuer,
    RelatedFetched,
    RequestInvalid,
    SignatureInvalid,
    TbsBuilt,
)
from services.certificate.x509.states import Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import CheckIssuance, CreateCertificate, RevokeCertificate, SignCertificate
from shared.contracts.certificate.events import (
    CertificateCreated,
    CertificateRevoked,
    CertificateSigned,
    IssuanceChecked,
)
from shared.contracts.certificate.value_types import DistinguishedName, Profile, RevocationReason, SanKind
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Perform
from tests.support.in_memory_ca import san
from tests.support.scenario import NOON, Scenario

CERTIFICATE = certificate_decider(Policy(ml_dsa=True))
ID, ISSUER_ID, KEY_ID, CA_KEY_ID, OTHER_ID = (f"0192f0c1-0000-7000-8000-00000000000{n}" for n in range(5))
PEM = "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"
CERTIFICATE_PEM = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BEGIN = NOON - 5 * MINUTE
LEAVES = [profile for profile in Profile if profile.startswith("piv-")]

ROOT = CreateCertificate(
    certificate_id=ID,
    profile=Profile.ROOT,
    subject=DistinguishedName(common_name="Root"),
    public_key_pem=PEM,
    key_id=KEY_ID,
    validity_days=3650,
)
INTERMEDIATE = ROOT.model_copy(update={"profile": Profile.INTERMEDIATE, "issuer_id": ISSUER_ID, "validity_days": 1000})
LEAF = INTERMEDIATE.model_copy(update={"profile": Profile.PIV_AUTHENTICATION, "validity_days": 365})
CHECK = CheckIssuance(
    certificate_id=ID,
    profile=Profile.PIV_AUTHENTICATION,
    issuer_id=ISSUER_ID,
    algorithm=Algorithm.EC_P256,
    validity_days=365,
)

ROOT_STATE = Issued(
    profile=Profile.ROOT,
    certificate_pem=CERTIFICATE_PEM,
    serial="1f",
    issuer_id=None,
    key_id=CA_KEY_ID,
    signing_key_id=CA_KEY_ID,
    not_before=NOON - 100 * DAY,
    not_after=NOON + 3650 * DAY,
)
INTERMEDIATE_STATE = replace(ROOT_STATE, profile=Profile.INTERMEDIATE, issuer_id=OTHER_ID)

CREATED = CertificateCreated(
    certificate_id=ID,
    profile=Profile.PIV_AUTHENTICATION,
    tbs=b"to be signed",
    tbs_sha256=sha256(b"to be signed").hexdigest(),
    signing_key_id=CA_KEY_ID,
    signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
    serial="2f",
    issuer_id=ISSUER_ID,
    issuer_public_key_pem=PEM,
    key_id=KEY_ID,
    not_before=BEGIN,
    not_after=NOON + 365 * DAY,
    profile_version=2,
)
SIGNED = CertificateSigned(
    certificate_id=ID,
    profile=Profile.PIV_AUTHENTICATION,
    certificate_pem=CERTIFICATE_PEM,
    serial="2f",
    fingerprint_sha256="0" * 64,
    issuer_id=ISSUER_ID,
    not_before=BEGIN,
    not_after=NOON + 365 * DAY,
    key_id=KEY_ID,
    expiring_at=NOON + 335 * DAY,
)
CHECKED = IssuanceChecked(**CHECK.model_dump(exclude={"signing_key_id", "subject", "sans"}))
REVOKED = CertificateRevoked(
    certificate_id=ID,
    reason=RevocationReason.SUPERSEDED,
    serial="2f",
    issuer_id=ISSUER_ID,
    not_after=NOON + 365 * DAY,
)
VOIDED = CertificateRevoked(certificate_id=ID, reason=RevocationReason.UNSPECIFIED, existed=False, signed=False)
SIGN = SignCertificate(certificate_id=ID, signature=b"signature")
REVOKE = RevokeCertificate(certificate_id=ID, reason=RevocationReason.SUPERSEDED)
CREATED_STATE = CERTIFICATE.evolve(Unborn(), CREATED)
ATTACH = AttachSignature(ID, CREATED_STATE, b"signature")

certificate = Scenario(CERTIFICATE)


def with_(request, **fields):
    return request.model_copy(update=fields)


def template_of(request):
    """The template that the decider makes of *request*, whichever issuer there is."""
    return certificate.given().when(request).answer.effect.template


def build_of(request, issuer_certificate_pem, signing_key_id, key_id, *, days):
    return BuildTbs(
        template=template_of(request),
        issuer_certificate_pem=issuer_certificate_pem,
        signing_key_id=signing_key_id,
        key_id=key_id,
        not_before=BEGIN,
        not_after=NOON + days * DAY,
        ml_dsa=True,
    )


BUILT = TbsBuilt(
    effect=build_of(LEAF, CERTIFICATE_PEM, CA_KEY_ID, KEY_ID, days=365),
    tbs=b"to be signed",
    serial="2f",
    signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
    issuer_public_key_pem=PEM,
)


def for_issuer(request=LEAF, issuer=INTERMEDIATE_STATE, **fields):
    path = ()
    if isinstance(issuer, Issued):
        path = (PathIssuer(certificate_id=ISSUER_ID, path_length=PROFILES[issuer.profile].path_length),)
    return IssuerFetched(template_of(with_(request, **fields)), issuer, path)


# -- checking -------------------------------------------------------------------------------------------------------
def test_whether_it_would_be_issued_depends_on_its_issuer():
    certificate.given().when(CHECK).then_performs(FetchIssuer(template_of(CHECK), ISSUER_ID))


@pytest.mark.parametrize("issuer", [ROOT_STATE, INTERMEDIATE_STATE])
def test_it_would_be_issued(issuer):
    certificate.given().when(for_issuer(CHECK, issuer)).then(CHECKED)


def test_that_it_would_be_issued_changes_nothing():
    assert state_after(CHECKED) == Unborn()
    certificate.given(CHECKED).when(LEAF).then_performs(FetchIssuer(template_of(LEAF), ISSUER_ID))
    certificate.given(CHECKED).when(CHECK).then_performs(FetchIssuer(template_of(CHECK), ISSUER_ID))


@pytest.mark.parametrize(
    "changes", [{"validity_days": 5000}, {"profile": Profile.ROOT}, {"profile": Profile.INTERMEDIATE}, {}]
)
@pytest.mark.parametrize(
    "issuer",
    [
        INTERMEDIATE_STATE,
        Unborn(),
        CREATED_STATE,
        Revoked(serial="1f", existed=True, reason=RevocationReason.SUPERSEDED),
        replace(ROOT_STATE, profile=Profile.PIV_AUTHENTICATION),
        replace(INTERMEDIATE_STATE, not_after=NOON - DAY),
        replace(INTERMEDIATE_STATE, not_after=NOON + 9 * DAY),
    ],
)
def test_what_would_not_be_issued_is_refused_as_it_would_be_when_created(issuer, changes):
    def answer_to(request):
        answer = certificate.given().when(with_(request, **changes)).answer
        if isinstance(answer, Perform):
            answer = certificate.given().when(for_issuer(request, issuer, **changes)).answer
        return answer

    created, checked = answer_to(LEAF), answer_to(CHECK)

    assert checked == (with_(CHECKED, **changes) if isinstance(created, Perform) else created)


SIGNING = set(Algorithm) - {Algorithm.X25519}
AGREEING = set(Algorithm) - {Algorithm.ED25519, Algorithm.ML_DSA_65}
FITTING = dict.fromkeys(Profile, SIGNING) | {
    Profile.PIV_KEY_MANAGEMENT: AGREEING,
    Profile.EMAIL: set(Algorithm),
    Profile.CODE_SIGNING: SIGNING - {Algorithm.RSA_2048},
}


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("profile", [profile for profile in Profile if profile is not Profile.ROOT])
def test_a_key_must_be_fit_for_its_profile(profile, algorithm):
    asked = certificate.given().when(with_(CHECK, profile=profile, algorithm=algorithm, validity_days=9))

    if algorithm in FITTING[profile]:
        assert isinstance(asked.answer, Perform)
    else:
        asked.then_rejects(
            RejectionCode.INVALID, f"profile {profile}", KEY_TYPES[algorithm] if algorithm != "rsa-2048" else "3072"
        )


@pytest.mark.parametrize("history", [(CREATED,), (CREATED, SIGNED)])
def test_what_is_created_or_issued_stands(history):
    certificate.given(*history).when(CHECK).then_already_done()


@pytest.mark.parametrize("history", [(CREATED, REVOKED), (CREATED, SIGNED, REVOKED), (VOIDED,)])
def test_what_is_revoked_would_not_be_issued(history):
    certificate.given(*history).when(CHECK).then_rejects(RejectionCode.CONFLICT, "revoked", "never used again")


# -- creating: a root -----------------------------------------------------------------------------------------------
def test_a_root_is_built_at_once_and_signed_by_its_own_key():
    certificate.given().when(ROOT).then_performs(build_of(ROOT, None, KEY_ID, KEY_ID, days=3650))


@pytest.mark.parametrize(("key_id", "signing_key_id"), [(None, KEY_ID), (KEY_ID, KEY_ID)])
def test_a_roots_key_is_known_by_either_id(key_id, signing_key_id):
    wish = with_(ROOT, key_id=key_id, signing_key_id=signing_key_id)

    certificate.given().when(wish).then_performs(build_of(wish, None, KEY_ID, KEY_ID, days=3650))


def test_a_root_needs_the_id_of_the_key_that_signs_it():
    certificate.given().when(with_(ROOT, key_id=None)).then_rejects(RejectionCode.INVALID, "signing_key_id")


def test_a_root_is_signed_by_no_other_key():
    certificate.given().when(with_(ROOT, signing_key_id=CA_KEY_ID)).then_rejects(RejectionCode.INVALID, "own key")


def test_a_root_has_no_issuer():
    certificate.given().when(with_(ROOT, issuer_id=ISSUER_ID)).then_rejects(RejectionCode.INVALID, "issuer_id")


# -- creating: everything else --------------------------------------------------------------------------------------
@pytest.mark.parametrize("profile", [profile for profile in Profile if profile is not Profile.ROOT])
def test_everything_but_a_root_needs_an_issuer(profile):
    wish = with_(LEAF, profile=profile, issuer_id=None)

    certificate.given().when(wish).then_rejects(RejectionCode.INVALID, "issuer_id", profile)


def test_its_issuer_is_looked_at_first():
    certificate.given().when(LEAF).then_performs(FetchIssuer(template_of(LEAF), ISSUER_ID))


def test_it_is_built_with_its_issuers_certificate_and_key():
    certificate.given().when(for_issuer()).then_performs(build_of(LEAF, CERTIFICATE_PEM, CA_KEY_ID, KEY_ID, days=365))


def test_the_key_it_is_about_need_not_have_an_id():
    wish = with_(LEAF, key_id=None)

    certificate.given().when(for_issuer(wish)).then_performs(build_of(wish, CERTIFICATE_PEM, CA_KEY_ID, None, days=365))


def test_what_was_built_is_created():
    certificate.given().when(BUILT).then(CREATED)


def test_what_cannot_be_built_is_refused_for_its_reason():
    certificate.given().when(RequestInvalid("an RSA key")).then_rejects(RejectionCode.INVALID, "an RSA key")


# -- creating: who may issue what -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("issuer", "code", "word"),
    [
        (Unborn(), RejectionCode.NOT_FOUND, "no certificate"),
        (CREATED_STATE, RejectionCode.CONFLICT, "not signed"),
        (Revoked(serial="1f", existed=True, reason=RevocationReason.SUPERSEDED), RejectionCode.CONFLICT, "revoked"),
    ],
)
def test_only_an_issued_certificate_issues(issuer, code, word):
    certificate.given().when(for_issuer(issuer=issuer)).then_rejects(code, ISSUER_ID, word)


@pytest.mark.parametrize("profile", [Profile.INTERMEDIATE, *LEAVES])
def test_a_root_issues_intermediates_and_leaves(profile):
    answer = certificate.given().when(for_issuer(LEAF, ROOT_STATE, profile=profile)).answer

    assert isinstance(answer, Perform)


@pytest.mark.parametrize("profile", LEAVES)
def test_an_intermediate_issues_leaves(profile):
    answer = certificate.given().when(for_issuer(LEAF, INTERMEDIATE_STATE, profile=profile)).answer

    assert isinstance(answer, Perform)


def test_an_intermediate_issues_no_other_authority():
    message = for_issuer(INTERMEDIATE, INTERMEDIATE_STATE)

    certificate.given().when(message).then_rejects(RejectionCode.NOT_ALLOWED, "path length")


@pytest.mark.parametrize("profile", LEAVES)
@pytest.mark.parametrize("wanted", [Profile.INTERMEDIATE, *LEAVES])
def test_a_leaf_issues_nothing(profile, wanted):
    message = for_issuer(LEAF, replace(ROOT_STATE, profile=profile), profile=wanted)

    certificate.given().when(message).then_rejects(RejectionCode.NOT_ALLOWED, "not a CA certificate")


# -- creating: the key that signs -----------------------------------------------------------------------------------
def test_the_signing_key_may_be_named():
    answer = certificate.given().when(for_issuer(signing_key_id=CA_KEY_ID)).answer

    assert answer.effect.signing_key_id == CA_KEY_ID


def test_the_signing_key_must_be_the_issuers():
    message = for_issuer(signing_key_id=OTHER_ID)

    certificate.given().when(message).then_rejects(RejectionCode.INVALID, "signing_key_id", CA_KEY_ID)


def test_the_signing_key_must_be_named_where_the_issuers_has_no_id():
    nameless = replace(INTERMEDIATE_STATE, key_id=None)

    certificate.given().when(for_issuer(issuer=nameless)).then_rejects(
        RejectionCode.INVALID, "signing_key_id is needed"
    )
    answer = certificate.given().when(for_issuer(issuer=nameless, signing_key_id=OTHER_ID)).answer
    assert answer.effect.signing_key_id == OTHER_ID


# -- creating: for how long -----------------------------------------------------------------------------------------
def validity(issuer, days, at=NOON):
    answer = certificate.given().when(for_issuer(LEAF, issuer, validity_days=days), at=at).answer
    return answer.effect.not_before, answer.effect.not_after


def test_it_begins_five_minutes_early_and_on_a_whole_second():
    later = NOON + timedelta(microseconds=999_999)

    assert validity(INTERMEDIATE_STATE, 10, later) == (BEGIN, NOON + 10 * DAY)


def test_it_begins_no_earlier_than_its_issuer():
    young = replace(INTERMEDIATE_STATE, not_before=NOON - MINUTE)

    assert validity(young, 10) == (NOON - MINUTE, NOON + 10 * DAY)


@pytest.mark.parametrize("left", [10 * DAY - MINUTE, 9 * DAY + timedelta(seconds=1)])
def test_it_ends_with_its_issuer_where_less_than_a_day_is_missing(left):
    issuer = replace(INTERMEDIATE_STATE, not_after=NOON + left)

    assert validity(issuer, 10) == (BEGIN, issuer.not_after)


@pytest.mark.parametrize(
    ("left", "possible"), [(9 * DAY, 9), (8 * DAY + MINUTE, 9), (9 * DAY - MINUTE, 9), (MINUTE, 1)]
)
def test_it_is_refused_where_a_day_or_more_is_missing_and_told_what_is_possible(left, possible):
    issuer = replace(INTERMEDIATE_STATE, not_after=NOON + left)

    message = for_issuer(LEAF, issuer, validity_days=10)
    certificate.given().when(message).then_rejects(RejectionCode.INVALID, f"at most {possible} validity_days")
    assert validity(issuer, possible) == (BEGIN, min(NOON + possible * DAY, issuer.not_after))


@pytest.mark.parametrize(("begin", "end"), [(-2 * DAY, -DAY), (DAY, 20 * DAY)])
def test_an_issuer_issues_only_while_it_is_valid(begin, end):
    issuer = replace(INTERMEDIATE_STATE, not_before=NOON + begin, not_after=NOON + end)

    certificate.given().when(for_issuer(issuer=issuer)).then_rejects(RejectionCode.CONFLICT, "valid from")


NAMED = {
    Profile.TLS_SERVER: {
        "subject": DistinguishedName(common_name="www.example.org"),
        "sans": (san("www.example.org"),),
    },
    Profile.EMAIL: {"sans": (san("alice@example.org", SanKind.EMAIL),)},
}


@pytest.mark.parametrize(
    ("profile", "days"), [(profile, rules.max_validity_days) for profile, rules in PROFILES.items()]
)
def test_each_profile_has_its_longest_validity(profile, days):
    wish = with_(ROOT if profile is Profile.ROOT else LEAF, profile=profile, **NAMED.get(profile, {}))

    assert isinstance(certificate.given().when(with_(wish, validity_days=days)).answer, Perform)
    longer = certificate.given().when(with_(wish, validity_days=days + 1))
    longer.then_rejects(RejectionCode.INVALID, f"at most {days} days")


# -- creating again -------------------------------------------------------------------------------------------------
HISTORIES = [(CREATED,), (CREATED, SIGNED)]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("signing_key_id", [None, CA_KEY_ID])
def test_the_same_certificate_is_created_once(history, signing_key_id):
    certificate.given(*history).when(with_(LEAF, signing_key_id=signing_key_id)).then_already_done()


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize(
    "different",
    [
        {"profile": Profile.PIV_DIGITAL_SIGNATURE},
        {"signing_key_id": OTHER_ID},
        {"issuer_id": OTHER_ID},
        {"key_id": OTHER_ID},
    ],
)
def test_an_id_is_of_one_certificate(history, different):
    certificate.given(*history).when(with_(LEAF, **different)).then_rejects(RejectionCode.CONFLICT, "another")


@pytest.mark.parametrize("history", [(CREATED, REVOKED), (CREATED, SIGNED, REVOKED), (VOIDED,)])
def test_the_id_of_a_revoked_certificate_is_never_used_again(history):
    certificate.given(*history).when(LEAF).then_rejects(RejectionCode.CONFLICT, "revoked", "never used again")


# -- signing --------------------------------------------------------------------------------------------------------
def test_its_issuer_is_looked_at_again_before_it_is_signed():
    certificate.given(CREATED).when(SIGN).then_performs(FetchRelated(SIGN, ISSUER_ID))


def test_a_signature_is_attached_to_what_was_created():
    certificate.given(CREATED).when(RelatedFetched(SIGN, INTERMEDIATE_STATE)).then_performs(ATTACH)


def test_a_root_is_its_own_issuer_and_is_signed_at_once():
    created = with_(CREATED, profile=Profile.ROOT, issuer_id=None)

    answer = certificate.given(created).when(SIGN).answer

    assert isinstance(answer.effect, AttachSignature)


@pytest.mark.parametrize(
    ("issuer", "word"),
    [
        (Revoked(serial="1f", existed=True, reason=RevocationReason.KEY_COMPROMISE), "revoked"),
        (replace(INTERMEDIATE_STATE, held=True), "on hold"),
        (replace(INTERMEDIATE_STATE, not_after=NOON - DAY), "expired"),
    ],
)
def test_nothing_is_signed_once_its_issuer_is_not_good_any_more(issuer, word):
    certificate.given(CREATED).when(RelatedFetched(SIGN, issuer)).then_rejects(RejectionCode.CONFLICT, ISSUER_ID, word)


def test_a_certificate_with_its_signature_is_signed():
    certificate.given(CREATED).when(CertificateAssembled(ATTACH, CERTIFICATE_PEM, "0" * 64)).then(SIGNED)


def test_a_wrong_signature_is_refused():
    wrong = certificate.given(CREATED).when(SignatureInvalid(ID))
    wrong.then_rejects(RejectionCode.INVALID, "does not verify with the issuer's public key")


def test_nothing_is_signed_that_was_not_created():
    certificate.given().when(SIGN).then_rejects(RejectionCode.NOT_FOUND, ID, "create it first")


def test_a_certificate_is_signed_once():
    certificate.given(CREATED, SIGNED).when(SIGN).then_already_done()


@pytest.mark.parametrize("history", [(CREATED, REVOKED), (CREATED, SIGNED, REVOKED), (VOIDED,)])
def test_a_revoked_certificate_is_not_signed(history):
    certificate.given(*history).when(SIGN).then_rejects(RejectionCode.CONFLICT, "revoked")


# -- revoking -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("history", "signed"), [((CREATED,), False), ((CREATED, SIGNED), True)])
def test_a_certificate_is_revoked_signed_or_not(history, signed):
    certificate.given(*history).when(REVOKE).then(with_(REVOKED, signed=signed))


@pytest.mark.parametrize("history", [(CREATED, REVOKED), (CREATED, SIGNED, REVOKED)])
def test_a_certificate_is_revoked_once(history):
    certificate.given(*history).when(REVOKE).then_already_done()


@pytest.mark.parametrize("history", [(CREATED, SIGNED, REVOKED), (VOIDED,)])
def test_another_reason_is_not_taken_for_the_one_that_stands(history):
    worse = with_(REVOKE, reason=RevocationReason.KEY_COMPROMISE)

    certificate.given(*history).when(worse).then_rejects(RejectionCode.CONFLICT, "revoked already, for")
    certificate.given(*history).when(with_(worse, void_if_absent=True)).then_already_done()


def test_nothing_is_revoked_that_was_not_created():
    certificate.given().when(REVOKE).then_rejects(RejectionCode.NOT_FOUND, "void_if_absent")


def test_an_id_can_be_voided_before_anything_has_it():
    certificate.given().when(RevokeCertificate(certificate_id=ID, void_if_absent=True)).then(VOIDED)


def test_voiding_what_exists_revokes_it():
    certificate.given(CREATED, SIGNED).when(with_(REVOKE, void_if_absent=True)).then(REVOKED)


# -- what is remembered ---------------------------------------------------------------------------------------------
def state_after(*history):
    return reduce(CERTIFICATE.evolve, history, CERTIFICATE.initial)


def test_an_issued_certificate_remembers_the_key_it_issues_with_and_the_one_it_was_signed_with():
    issued = state_after(CREATED, SIGNED)

    assert (issued.key_id, issued.signing_key_id, issued.certificate_pem) == (KEY_ID, CA_KEY_ID, CERTIFICATE_PEM)


def test_a_revocation_remembers_whether_there_was_anything():
    revoked = state_after(CREATED, SIGNED, REVOKED)
    assert (revoked.serial, revoked.existed, revoked.reason) == ("2f", True, RevocationReason.SUPERSEDED)
    assert (revoked.certificate_pem, revoked.issuer_id) == (CERTIFICATE_PEM, ISSUER_ID)
    assert state_after(VOIDED) == Revoked(serial=None, existed=False, reason=RevocationReason.UNSPECIFIED)


@pytest.mark.parametrize(
    ("history", "kind"),
    [
        ((), Unborn),
        ((CHECKED,), Unborn),
        ((CREATED,), Created),
        ((CREATED, SIGNED), Issued),
        ((CREATED, REVOKED), Revoked),
        ((VOIDED,), Revoked),
    ],
)
def test_a_snapshot_reads_back_as_it_was(history, kind):
    state = state_after(*history)

    snapshot = CERTIFICATE.states.dump_json(state)

    assert isinstance(state, kind)
    assert CERTIFICATE.states.validate_json(snapshot) == state


@given(st.lists(st.sampled_from([CHECKED, CREATED, SIGNED, REVOKED, VOIDED]), max_size=6))
def test_a_revocation_is_final_for_whatever_is_asked(events):
    revoked = (*events, REVOKED)
    something = Perform | CertificateCreated | IssuanceChecked

    for message in (CHECK, LEAF, SIGN, REVOKE):
        assert not isinstance(certificate.given(*revoked).when(message).answer, something)
