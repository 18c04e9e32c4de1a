"""Lifecycle of certificates: hold, release, succession, expiry, renewal, cross-certification, export."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from services.certificate.policy.issuers import IssuerPolicy
from services.certificate.policy.rules import Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509.domain import CERTIFICATE
from services.certificate.x509.states import Revoked
from shared.contracts.certificate.commands import (
    AnnounceExpiry,
    CrossCertify,
    ExpireCertificate,
    ExportCertificate,
    HoldCertificate,
    ReleaseCertificate,
    RenewCertificate,
    RevokeCertificate,
    SupersedeCertificate,
)
from shared.contracts.certificate.events import (
    CertificateCreated,
    CertificateExpired,
    CertificateExpiring,
    CertificateExported,
    CertificateHeld,
    CertificateReleased,
    CertificateRenewed,
    CertificateRevoked,
    CertificateSuperseded,
)
from shared.contracts.certificate.value_types import (
    CertificateFormat,
    NameConstraints,
    Profile,
    RevocationReason,
    SanKind,
)
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.ids import new_id
from tests.support.certificate_linting import findings
from tests.support.in_memory_ca import Authority, private_key, public_pem, request, san
from tests.support.scenario import NOON

ROOT_KEY, CA_KEY, HOLDER, OTHER = (private_key(Algorithm.EC_P256, n) for n in range(4))
DAY = timedelta(days=1)
OCSP = Policy(issuers=((None, IssuerPolicy(base_url="http://pki.example.org", ocsp=True, renew=True)),))


class Pki:
    """A root, an intermediate and a leaf, and short ways to ask about the leaf."""

    def __init__(self, authority, root, issuer, leaf):
        self.authority, self.root, self.issuer, self.leaf = authority, root, issuer, leaf

    @classmethod
    async def begin(cls, profile=Profile.TLS_CLIENT, policy=OCSP, **fields):
        authority = Authority(policy)
        root = await authority.root(ROOT_KEY)
        issuer = await authority.intermediate(CA_KEY, root, ROOT_KEY)
        wish = request(profile, HOLDER, issuer_id=issuer.certificate_id, key_id=str(new_id()), **fields)
        return cls(authority, root, issuer, await authority.issue(wish, CA_KEY))

    async def ask(self, command, at=NOON, who=None, **fields):
        target = (who or self.leaf).certificate_id
        return await self.authority.ask(command(certificate_id=target, **fields), at)

    async def renew(self, at=NOON, who=None, **fields):
        wish = RenewCertificate(
            certificate_id=str(new_id()), predecessor_id=(who or self.leaf).certificate_id, **fields
        )
        return await self.authority.ask(wish, at)


def parsed(signed):
    return x509.load_pem_x509_certificate(signed.certificate_pem.encode())


def refused(answer, code, *words):
    assert isinstance(answer, Rejection), answer
    assert answer.code is code
    for word in words:
        assert word in answer.message


# -- hold and release -----------------------------------------------------------------------------------------------
async def test_a_certificate_is_held_and_released():
    pki = await Pki.begin()

    held = await pki.ask(HoldCertificate)
    again = await pki.ask(HoldCertificate)
    released = await pki.ask(ReleaseCertificate)

    assert isinstance(held, CertificateHeld)
    assert (held.issuer_id, held.serial, held.ocsp) == (pki.issuer.certificate_id, pki.leaf.serial, True)
    assert held.not_after == pki.leaf.not_after
    assert again == AlreadyDone()
    assert isinstance(released, CertificateReleased)
    assert await pki.ask(ReleaseCertificate) == AlreadyDone()


async def test_what_is_on_hold_can_be_revoked_and_is_then_released_no_more():
    pki = await Pki.begin()
    await pki.ask(HoldCertificate)

    assert isinstance(await pki.ask(RevokeCertificate), CertificateRevoked)

    refused(await pki.ask(ReleaseCertificate), RejectionCode.CONFLICT, "final")
    refused(await pki.ask(HoldCertificate), RejectionCode.CONFLICT, "final")


async def test_what_has_ended_is_not_held():
    pki = await Pki.begin()

    refused(await pki.ask(HoldCertificate, NOON + 366 * DAY), RejectionCode.CONFLICT, "expired")


async def test_an_issuer_on_hold_issues_nothing_until_it_is_released():
    pki = await Pki.begin()
    wish = request(Profile.TLS_CLIENT, HOLDER, issuer_id=pki.issuer.certificate_id)
    await pki.ask(HoldCertificate, who=pki.issuer)

    refused(await pki.authority.ask(wish), RejectionCode.CONFLICT, "on hold")

    await pki.ask(ReleaseCertificate, who=pki.issuer)
    assert isinstance(await pki.authority.ask(wish), CertificateCreated)


@pytest.mark.parametrize("command", [HoldCertificate, RevokeCertificate])
async def test_an_issuer_below_a_root_that_is_not_good_issues_nothing(command):
    pki = await Pki.begin()
    await pki.ask(command, who=pki.root)

    answer = await pki.authority.ask(request(Profile.TLS_CLIENT, HOLDER, issuer_id=pki.issuer.certificate_id))

    refused(answer, RejectionCode.CONFLICT, "above the issuer")


# -- revoke ---------------------------------------------------------------------------------------------------------
async def test_a_revocation_says_since_when_and_what_a_crl_needs_to_know():
    pki = await Pki.begin()
    since = NOON - 3 * DAY

    revoked = await pki.ask(RevokeCertificate, reason=RevocationReason.KEY_COMPROMISE, invalidity_date=since)

    assert (revoked.invalidity_date, revoked.issuer_id, revoked.signed, revoked.ocsp) == (
        since,
        pki.issuer.certificate_id,
        True,
        True,
    )
    assert (revoked.serial, revoked.not_after) == (pki.leaf.serial, pki.leaf.not_after)


async def test_nothing_is_invalid_since_a_day_to_come():
    pki = await Pki.begin()

    refused(await pki.ask(RevokeCertificate, invalidity_date=NOON + DAY), RejectionCode.INVALID, "future")


# -- supersede ------------------------------------------------------------------------------------------------------
async def test_a_certificate_is_superseded_once_and_then_neither_renewed_nor_announced():
    pki = await Pki.begin()
    wish = request(Profile.TLS_CLIENT, HOLDER, issuer_id=pki.issuer.certificate_id)
    successor = await pki.authority.issue(wish, CA_KEY)

    superseded = await pki.ask(SupersedeCertificate, successor_id=successor.certificate_id)

    assert isinstance(superseded, CertificateSuperseded)
    assert await pki.ask(SupersedeCertificate, successor_id=successor.certificate_id) == AlreadyDone()
    other = await pki.ask(SupersedeCertificate, successor_id=pki.issuer.certificate_id)
    refused(other, RejectionCode.CONFLICT, successor.certificate_id)
    refused(await pki.renew(), RejectionCode.CONFLICT, successor.certificate_id)
    assert await pki.ask(AnnounceExpiry, NOON + 360 * DAY) == AlreadyDone()
    assert isinstance(await pki.ask(RevokeCertificate), CertificateRevoked)


async def test_only_an_issued_certificate_succeeds_another():
    pki = await Pki.begin()

    refused(await pki.ask(SupersedeCertificate, successor_id=str(new_id())), RejectionCode.NOT_FOUND)
    itself = await pki.ask(SupersedeCertificate, successor_id=pki.leaf.certificate_id)
    refused(itself, RejectionCode.INVALID, "itself")


# -- the end --------------------------------------------------------------------------------------------------------
async def test_an_end_is_announced_once_and_not_before_its_time():
    pki = await Pki.begin()
    assert pki.leaf.expiring_at == NOON + 335 * DAY

    refused(await pki.ask(AnnounceExpiry, NOON + 334 * DAY), RejectionCode.CONFLICT, "notice", "is due on")
    announced = await pki.ask(AnnounceExpiry, pki.leaf.expiring_at - timedelta(seconds=59))

    assert isinstance(announced, CertificateExpiring)
    assert (announced.renewal, announced.not_after, announced.profile) == (True, pki.leaf.not_after, Profile.TLS_CLIENT)
    assert await pki.ask(AnnounceExpiry, NOON + 340 * DAY) == AlreadyDone()


async def test_no_authority_is_renewed_by_itself():
    pki = await Pki.begin()

    assert (pki.leaf.renewal, pki.issuer.renewal, pki.root.renewal) == (True, False, False)


async def test_a_certificate_expires_at_its_end_and_not_before():
    pki = await Pki.begin()

    refused(
        await pki.ask(ExpireCertificate, pki.leaf.not_after - timedelta(seconds=1)),
        RejectionCode.CONFLICT,
        "expires on",
    )
    assert isinstance(await pki.ask(ExpireCertificate, pki.leaf.not_after), CertificateExpired)

    assert await pki.ask(ExpireCertificate, pki.leaf.not_after) == AlreadyDone()
    assert await pki.ask(AnnounceExpiry, pki.leaf.not_after) == AlreadyDone()


@pytest.mark.parametrize("command", [AnnounceExpiry, ExpireCertificate])
async def test_of_what_is_revoked_no_end_is_told(command):
    pki = await Pki.begin()
    await pki.ask(RevokeCertificate)

    assert await pki.ask(command, NOON + 400 * DAY) == AlreadyDone()


@given(st.integers(1, 9000), st.integers(1, 400))
def test_an_end_is_announced_in_the_last_third_of_a_life(days, announced):
    end = NOON + days * DAY

    at = IssuerPolicy(expiry_notice=announced * DAY).expiry_notice_at(NOON, end)

    assert end - min(announced * DAY, days * DAY / 3) - timedelta(seconds=1) <= at < end


# -- renew ----------------------------------------------------------------------------------------------------------
async def test_a_renewed_certificate_is_like_its_predecessor():
    names = (san("client.example.org"), san("alice@example.org", SanKind.UPN))
    pki = await Pki.begin(profile=Profile.PIV_AUTHENTICATION, sans=names, validity_days=200)

    renewed = await pki.renew(NOON + 150 * DAY)

    assert isinstance(renewed, CertificateRenewed)
    assert (renewed.predecessor_id, renewed.profile) == (pki.leaf.certificate_id, Profile.PIV_AUTHENTICATION)
    assert renewed.not_after == NOON + 350 * DAY
    assert renewed.key_id == pki.authority.certificates[pki.leaf.certificate_id].key_id
    assert renewed.serial != pki.leaf.serial
    again = RenewCertificate(certificate_id=renewed.certificate_id, predecessor_id=pki.leaf.certificate_id)
    assert await pki.authority.ask(again) == AlreadyDone()


async def test_the_names_of_a_renewed_certificate_are_its_predecessors_to_the_letter():
    pki = await Pki.begin(profile=Profile.TLS_SERVER)
    wish = RenewCertificate(
        certificate_id=str(new_id()), predecessor_id=pki.leaf.certificate_id, public_key_pem=public_pem(OTHER)
    )

    successor = await pki.authority.issue(wish, CA_KEY)

    before, after = parsed(pki.leaf), parsed(successor)
    assert after.subject.public_bytes() == before.subject.public_bytes()
    for kind in (x509.SubjectAlternativeName, x509.KeyUsage, x509.ExtendedKeyUsage, x509.BasicConstraints):
        assert after.extensions.get_extension_for_class(kind) == before.extensions.get_extension_for_class(kind)
    assert after.public_key() == OTHER.public_key()
    assert pki.authority.certificates[successor.certificate_id].key_id is None
    assert findings(successor.certificate_pem, pki.issuer.certificate_pem) == []


async def test_an_authority_is_renewed_with_its_key_identifier_and_limits():
    pki = await Pki.begin()
    constraints = NameConstraints(permitted_dns=("example.org",))
    issuer = await pki.authority.intermediate(OTHER, pki.root, ROOT_KEY, name_constraints=constraints)
    wish = RenewCertificate(certificate_id=str(new_id()), predecessor_id=issuer.certificate_id)

    successor = await pki.authority.issue(wish, ROOT_KEY)

    for kind in (x509.SubjectKeyIdentifier, x509.NameConstraints, x509.BasicConstraints):
        said = parsed(successor).extensions.get_extension_for_class(kind)
        assert said == parsed(issuer).extensions.get_extension_for_class(kind)


async def test_a_root_is_renewed_by_its_own_key():
    pki = await Pki.begin()
    wish = RenewCertificate(certificate_id=str(new_id()), predecessor_id=pki.root.certificate_id)

    successor = await pki.authority.issue(wish, ROOT_KEY)

    parsed(pki.issuer).verify_directly_issued_by(parsed(successor))
    assert findings(successor.certificate_pem, successor.certificate_pem) == []


async def test_what_ended_is_renewed_for_thirty_days_more():
    pki = await Pki.begin(validity_days=10)

    assert isinstance(await pki.renew(NOON + 39 * DAY), CertificateRenewed)
    refused(await pki.renew(NOON + 41 * DAY), RejectionCode.CONFLICT, "expired on", "create another one")


async def test_what_is_revoked_on_hold_unsigned_or_unknown_is_not_renewed():
    pki = await Pki.begin()
    created = await pki.authority.ask(request(Profile.TLS_CLIENT, OTHER, issuer_id=pki.issuer.certificate_id))
    await pki.ask(HoldCertificate)
    refused(await pki.renew(), RejectionCode.CONFLICT, "on hold")
    await pki.ask(RevokeCertificate)

    refused(await pki.renew(), RejectionCode.CONFLICT, "revoked")
    refused(await pki.renew(who=created), RejectionCode.CONFLICT, "not signed")
    unknown = RenewCertificate(certificate_id=str(new_id()), predecessor_id=str(new_id()))
    refused(await pki.authority.ask(unknown), RejectionCode.NOT_FOUND, unknown.predecessor_id)


async def test_nothing_is_renewed_by_an_issuer_that_is_not_good():
    pki = await Pki.begin()
    await pki.ask(RevokeCertificate, who=pki.issuer)

    refused(await pki.renew(), RejectionCode.CONFLICT, "issuer", "revoked")


# -- cross-certify --------------------------------------------------------------------------------------------------
async def test_another_authority_is_certified_as_it_stands_and_its_certificates_verify_by_ours():
    ours, theirs = await Pki.begin(), await Pki.begin(policy=Policy())
    authority = ours.authority
    wish = CrossCertify(
        certificate_id=str(new_id()),
        subject_certificate_pem=theirs.issuer.certificate_pem.replace("\n", "\r\n"),
        issuer_id=ours.root.certificate_id,
        validity_days=365,
        name_constraints=NameConstraints(permitted_dns=("partner.example",)),
    )

    cross = parsed(await authority.issue(wish, ROOT_KEY))

    assert cross.subject.public_bytes() == parsed(theirs.issuer).subject.public_bytes()
    parsed(theirs.leaf).verify_directly_issued_by(cross)
    identifier = x509.SubjectKeyIdentifier
    said = parsed(theirs.issuer).extensions.get_extension_for_class(identifier)
    assert cross.extensions.get_extension_for_class(identifier) == said
    basic = cross.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    assert cross.extensions.get_extension_for_class(x509.NameConstraints).critical


async def test_only_an_authority_is_cross_certified_and_only_as_deep_as_its_issuer_allows():
    pki = await Pki.begin()
    common = {"certificate_id": str(new_id()), "validity_days": 365}
    leaf = CrossCertify(subject_certificate_pem=pki.leaf.certificate_pem, issuer_id=pki.root.certificate_id, **common)
    other = (await Pki.begin(policy=Policy())).root.certificate_pem
    deep = CrossCertify(subject_certificate_pem=other, issuer_id=pki.root.certificate_id, path_length=1, **common)

    refused(await pki.authority.ask(leaf), RejectionCode.INVALID, "not a CA certificate")
    refused(
        await pki.authority.ask(deep.model_copy(update={"issuer_id": pki.issuer.certificate_id})),
        RejectionCode.NOT_ALLOWED,
    )


# -- path length and name constraints -------------------------------------------------------------------------------
async def test_authorities_go_as_deep_as_the_first_of_them_allows():
    authority = Authority()
    keys = [private_key(Algorithm.EC_P256, n) for n in range(5)]
    above = await authority.root(keys[0], path_length=2)

    for depth, path_length in ((1, 1), (2, 0)):
        wish = {"issuer_id": above.certificate_id, "key_id": str(new_id())}
        too_deep = request(Profile.INTERMEDIATE, keys[depth], path_length=path_length + 1, **wish)
        refused(await authority.ask(too_deep), RejectionCode.NOT_ALLOWED, f"at most {path_length}")
        fit = request(Profile.INTERMEDIATE, keys[depth], path_length=path_length, **wish)
        above = await authority.issue(fit, keys[depth - 1])
    last = request(Profile.INTERMEDIATE, keys[3], issuer_id=above.certificate_id)
    refused(await authority.ask(last), RejectionCode.NOT_ALLOWED, "path length")
    assert isinstance(
        await authority.ask(request(Profile.TLS_CLIENT, keys[4], issuer_id=above.certificate_id)), CertificateCreated
    )


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("www.example.net", SanKind.DNS, "not permitted"),
        ("secret.example.org", SanKind.DNS, "excluded"),
        ("*.example.org", SanKind.DNS, "excluded"),
        ("192.0.3.1", SanKind.IP, "not permitted"),
        ("www.example.org", SanKind.DNS, None),
        ("*.www.example.org", SanKind.DNS, None),
        ("192.0.2.9", SanKind.IP, None),
    ],
)
async def test_the_name_constraints_of_every_authority_above_hold(name, kind, word):
    authority = Authority()
    constraints = NameConstraints(
        permitted_dns=("example.org",), excluded_dns=("secret.example.org",), permitted_ip=("192.0.2.0/24",)
    )
    root = await authority.root(ROOT_KEY, name_constraints=constraints)
    issuer = await authority.intermediate(CA_KEY, root, ROOT_KEY)
    subject = request(Profile.TLS_SERVER, HOLDER).subject.model_copy(update={"common_name": name})

    wish = request(
        Profile.TLS_SERVER, HOLDER, issuer_id=issuer.certificate_id, sans=(san(name, kind),), subject=subject
    )
    answer = await authority.ask(wish)

    if word is None:
        assert isinstance(answer, CertificateCreated)
    else:
        refused(answer, RejectionCode.NOT_ALLOWED, "name constraints", word)


# -- export ---------------------------------------------------------------------------------------------------------
async def test_a_certificate_is_exported_in_every_format_with_its_chain():
    pki = await Pki.begin()
    chain = [parsed(each) for each in (pki.leaf, pki.issuer, pki.root)]

    pem = await pki.ask(ExportCertificate, chain=True)
    der = await pki.ask(ExportCertificate, format=CertificateFormat.DER)
    bundle = await pki.ask(ExportCertificate, format=CertificateFormat.PKCS7, chain=True)

    assert isinstance(pem, CertificateExported)
    assert x509.load_pem_x509_certificates(pem.content.encode()) == chain
    assert base64.b64decode(der.content) == chain[0].public_bytes(Encoding.DER)
    assert set(pkcs7.load_der_pkcs7_certificates(base64.b64decode(bundle.content))) == set(chain)
    assert (await pki.ask(ExportCertificate)).content == pki.leaf.certificate_pem


async def test_a_chain_is_not_one_der():
    pki = await Pki.begin()

    refused(await pki.ask(ExportCertificate, format=CertificateFormat.DER, chain=True), RejectionCode.INVALID, "pkcs7")


async def test_a_revoked_certificate_is_still_exported():
    pki = await Pki.begin()
    await pki.ask(RevokeCertificate)

    assert (await pki.ask(ExportCertificate)).content == pki.leaf.certificate_pem


# -- what holds for all ---------------------------------------------------------------------------------------------
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(PROFILES)), st.integers(1, 90), st.timedeltas(timedelta(0), 300 * DAY)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
async def test_no_two_certificates_share_a_serial_and_none_outlives_its_issuer(wishes):
    pki = await Pki.begin()
    made = [pki.root, pki.issuer, pki.leaf]
    ends = {each.certificate_id: each.not_after for each in made}

    for profile, days, later in wishes:
        by = {Profile.ROOT: None, Profile.INTERMEDIATE: pki.root.certificate_id}.get(profile, pki.issuer.certificate_id)
        wish = request(profile, OTHER, issuer_id=by, validity_days=days, key_id=str(new_id()))
        created = await pki.authority.ask(wish, NOON + later)
        renewed = await pki.renew(NOON + later)
        for each in (created, renewed):
            assert isinstance(each, CertificateCreated), each
            assert each.issuer_id is None or each.not_after <= ends[each.issuer_id]
            made.append(each)

    assert len({each.serial for each in made}) == len(made)


COMMANDS = [
    HoldCertificate,
    ReleaseCertificate,
    RevokeCertificate,
    AnnounceExpiry,
    ExpireCertificate,
    ExportCertificate,
    SupersedeCertificate,
]


@given(st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(-5, 60)), max_size=12))
@settings(max_examples=60, deadline=None)
async def test_whatever_is_asked_in_whatever_order_a_revocation_is_final_and_every_snapshot_reads_back(asked):
    pki = await Pki.begin(validity_days=40)
    revoked = False

    for command, days in sorted(asked, key=lambda each: each[1]):
        more = {"successor_id": pki.issuer.certificate_id} if command is SupersedeCertificate else {}
        answer = await pki.ask(command, NOON + days * DAY, **more)

        state = pki.authority.certificates[pki.leaf.certificate_id]
        assert CERTIFICATE.states.validate_json(CERTIFICATE.states.dump_json(state)) == state
        assert not revoked or isinstance(answer, Rejection | AlreadyDone | CertificateExported)
        assert not isinstance(answer, CertificateExpired) or days >= 40
        revoked = revoked or isinstance(answer, CertificateRevoked)
        assert revoked is isinstance(state, Revoked)
