"""CRLs: schedule, content and publication, checked by openssl and pkilint."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from services.certificate.crl.domain import MAX_TBS_BYTES
from services.certificate.x509.states import Created, Revoked
from shared.contracts.certificate.commands import CreateCrl, PublishCrl
from shared.contracts.certificate.events import CertificateRevoked, CrlCreated, CrlPublished
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.ids import new_id
from tests.support.crl_linting import crl_findings
from tests.support.in_memory_ca import private_key
from tests.support.revocation_lists import CrlPublisher, Log
from tests.support.revocation_pki import DAY, holder, ml_dsa_key, now, sign_with
from tests.support.scenario import NOON

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ROOT = holder(Profile.ROOT, days=3650)
CA = holder(Profile.INTERMEDIATE, ROOT, days=1825)
ALICE, BOB, CAROL = (holder(Profile.PIV_AUTHENTICATION, CA, name=name) for name in ("Alice", "Bob", "Carol"))


def parsed(published):
    return x509.load_pem_x509_crl(published.crl_pem.encode())


def serials(published):
    return {each.serial_number for each in parsed(published)}


def number_of(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def reason_of(entry):
    return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason


def refused(answer, code, *words):
    assert isinstance(answer, Rejection), answer
    assert answer.code == code
    for word in words:
        assert word in answer.message


async def test_the_first_crl_of_an_authority_may_be_empty():
    published = await CrlPublisher(CA).crl(CA)

    crl = parsed(published)
    assert (len(crl), published.entries) == (0, 0)
    assert crl.issuer == CA.certificate.subject
    assert crl.is_signature_valid(CA.certificate.public_key())
    assert (crl.last_update_utc, crl.next_update_utc) == (NOON, NOON + 2 * DAY)
    assert published.next_at == NOON + DAY
    assert number_of(crl) == published.number == int(NOON.timestamp())


async def test_it_lists_what_is_revoked_and_held_with_when_and_why():
    publisher = CrlPublisher(CA)
    publisher.log.take(BOB.held(), NOON - HOUR)
    publisher.log.take(ALICE.revoked(RevocationReason.KEY_COMPROMISE, invalidity_date=NOON - 3 * DAY), NOON - 2 * HOUR)
    publisher.log.take(CAROL.revoked(), NOON - MINUTE)

    crl = parsed(await publisher.crl(CA))

    alice, bob, carol = (
        crl.get_revoked_certificate_by_serial_number(int(each.serial, 16)) for each in (ALICE, BOB, CAROL)
    )
    assert reason_of(alice) is x509.ReasonFlags.key_compromise
    assert alice.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc == NOON - 3 * DAY
    assert reason_of(bob) is x509.ReasonFlags.certificate_hold
    assert len(carol.extensions) == 0  # RFC 5280, 5.3.1: unspecified is said by saying nothing
    assert [each.revocation_date_utc for each in (alice, bob, carol)] == [NOON - 2 * HOUR, NOON - HOUR, NOON - MINUTE]
    assert [each.serial_number for each in crl] == sorted(each.serial_number for each in crl)


async def test_every_reason_is_told_in_its_own_code():
    publisher, leaves = (
        CrlPublisher(CA),
        {reason: holder(Profile.PIV_AUTHENTICATION, CA) for reason in RevocationReason},
    )
    for reason, leaf in leaves.items():
        publisher.log.take(leaf.revoked(reason))

    crl = parsed(await publisher.crl(CA))

    for reason, leaf in leaves.items():
        entry = crl.get_revoked_certificate_by_serial_number(int(leaf.serial, 16))
        assert reason is RevocationReason.UNSPECIFIED or reason_of(entry).value == reason


async def test_what_is_released_and_what_others_issued_is_not_in_it():
    other = holder(Profile.INTERMEDIATE, ROOT, private_key(Algorithm.EC_P256, "other"))
    publisher = CrlPublisher(CA, other)
    publisher.log.take(ALICE.held())
    publisher.log.take(holder(Profile.PIV_AUTHENTICATION, other).revoked())
    publisher.log.take(ALICE.released())

    assert serials(await publisher.crl(CA)) == set()


async def test_asking_again_while_nothing_changed_and_nothing_is_due_stands():
    publisher = CrlPublisher(CA, ROOT)
    published = await publisher.crl(CA)
    publisher.log.take(CA.revoked())  # the root's business

    answer = await publisher.create(CA, NOON + DAY - MINUTE)

    assert answer == AlreadyDone({"number": published.number})


async def test_the_next_one_is_built_when_it_is_due_and_when_something_changed():
    publisher = CrlPublisher(CA)
    first = await publisher.crl(CA)
    publisher.log.take(ALICE.revoked(), NOON + MINUTE)
    second = await publisher.crl(CA, NOON + MINUTE)
    third = await publisher.crl(CA, NOON + MINUTE + DAY)

    assert first.number < second.number < third.number
    assert [each.entries for each in (first, second, third)] == [0, 1, 1]


async def test_of_two_built_in_the_same_second_the_later_has_the_higher_number_and_is_the_one_published():
    publisher = CrlPublisher(CA)
    first, second = await publisher.create(CA), await publisher.create(CA)
    assert second.number == first.number + 1

    assert isinstance(await publisher.publish(CA, first, number=first.number), AlreadyDone)
    published = await publisher.publish(CA, second, number=second.number)

    assert isinstance(published, CrlPublished)
    assert isinstance(await publisher.publish(CA, first, number=first.number), AlreadyDone)
    assert isinstance(await publisher.publish(CA, second, number=second.number), AlreadyDone)


async def test_a_signature_that_is_not_the_issuers_over_these_bytes_is_refused():
    publisher = CrlPublisher(CA)
    created = await publisher.create(CA)
    wrong = PublishCrl(certificate_id=CA.certificate_id, signature=sign_with(ROOT.key, created.tbs))
    other = PublishCrl(certificate_id=CA.certificate_id, signature=sign_with(CA.key, b"something else"))

    refused(await publisher.ask(wrong), RejectionCode.INVALID, "does not verify", str(created.number))
    refused(await publisher.ask(other), RejectionCode.INVALID, "does not verify")


async def test_where_nothing_waits_for_a_signature_that_is_said():
    publisher = CrlPublisher(CA, ALICE)
    publish = PublishCrl(certificate_id=CA.certificate_id, signature=b"x")

    refused(await publisher.ask(publish), RejectionCode.CONFLICT, "certificate.create-crl")
    published = await publisher.crl(CA)
    refused(await publisher.ask(publish), RejectionCode.CONFLICT, "certificate.create-crl")
    later = publish.model_copy(update={"number": published.number + 1})
    refused(await publisher.ask(later), RejectionCode.INVALID, str(published.number))


async def test_only_an_authority_whose_key_is_known_has_crls():
    keyless = replace(CA, state=replace(CA.state, key_id=None), certificate_id=str(new_id()))
    publisher = CrlPublisher(ALICE, keyless)
    unsigned = Created(
        tbs="",
        profile=Profile.INTERMEDIATE,
        signature_algorithm=SignatureAlgorithm.ED25519,
        issuer_id=None,
        issuer_public_key_pem="",
        serial="1",
        key_id=None,
        signing_key_id="",
        not_before=NOON,
        not_after=NOON,
    )
    publisher.states[BOB.certificate_id] = unsigned

    refused(await publisher.create(ALICE), RejectionCode.NOT_ALLOWED, "not a CA certificate")
    refused(await publisher.create(keyless), RejectionCode.CONFLICT, "key")
    refused(await publisher.create(CAROL), RejectionCode.NOT_FOUND, CAROL.certificate_id)
    refused(await publisher.create(BOB), RejectionCode.CONFLICT, "sign it first")


async def test_of_an_authority_that_is_revoked_or_expired_nothing_more_is_asked_of_anybody():
    publisher = CrlPublisher(CA)
    assert isinstance(await publisher.create(CA, NOON + 4000 * DAY), AlreadyDone)

    publisher.states[CA.certificate_id] = Revoked(serial=CA.serial, existed=True, reason=RevocationReason.SUPERSEDED)
    assert isinstance(await publisher.create(CA), AlreadyDone)
    assert isinstance(await publisher.ask(PublishCrl(certificate_id=CA.certificate_id, signature=b"x")), AlreadyDone)


async def test_an_expired_certificate_leaves_after_it_was_on_one_crl_that_was_issued_after_its_end():
    leaf = holder(Profile.PIV_AUTHENTICATION, CA, days=11)  # it ends a day after noon
    publisher = CrlPublisher(CA)
    publisher.log.take(leaf.revoked())

    listed = [len(parsed(await publisher.crl(CA, NOON + days * DAY))) for days in (0, 1, 2, 3, 4)]

    assert listed == [1, 1, 1, 0, 0]


async def test_what_is_revoked_after_its_end_still_is_on_one_crl():
    leaf = holder(Profile.PIV_AUTHENTICATION, CA, days=11)
    publisher = CrlPublisher(CA)
    await publisher.crl(CA, NOON + 5 * DAY)
    publisher.log.take(leaf.revoked(), NOON + 5 * DAY + MINUTE)

    listed = [len(parsed(await publisher.crl(CA, NOON + days * DAY))) for days in (6, 7)]

    assert listed == [1, 0]


async def test_a_renewed_authority_lists_what_it_revoked_under_its_certificate_before():
    """To relying parties both are one issuer: same name, same key (RFC 5280, 6.3.3)."""
    renewed = holder(Profile.INTERMEDIATE, ROOT, key_id=CA.state.key_id)
    publisher = CrlPublisher(CA, renewed)
    publisher.log.take(ALICE.revoked())

    assert serials(await publisher.crl(renewed)) == {int(ALICE.serial, 16)}


async def test_an_authority_of_another_name_is_another_issuer_even_with_the_same_key():
    other = holder(Profile.INTERMEDIATE, ROOT, name="Other", key_id=CA.state.key_id)
    publisher = CrlPublisher(CA, other)
    publisher.log.take(ALICE.revoked())

    assert serials(await publisher.crl(other)) == set()


async def test_this_update_is_never_before_what_it_tells_of_nor_before_the_last_crl():
    publisher = CrlPublisher(CA)
    publisher.log.take(ALICE.held(), NOON + HOUR)  # between the command and its turn
    first = await publisher.crl(CA, NOON)
    publisher.log.take(ALICE.released(), NOON + HOUR)
    second = await publisher.crl(CA, NOON - MINUTE)

    assert first.this_update == second.this_update == NOON + HOUR
    assert second.number == first.number + 1


async def test_numbers_grow_when_a_backup_is_restored():
    publisher = CrlPublisher(CA)
    crls = [await publisher.crl(CA, NOON + days * DAY) for days in range(4)]
    publisher.forget_crls_after(crls[0].number, CA)

    after = await publisher.crl(CA, NOON + 4 * DAY)

    assert after.number > max(each.number for each in crls)


async def test_more_than_can_be_signed_is_refused_with_what_to_do():
    publisher = CrlPublisher(CA)
    for serial in range(12_000):
        publisher.log.take(
            CertificateRevoked(
                certificate_id=ALICE.certificate_id,
                reason=RevocationReason.SUPERSEDED,
                issuer_id=CA.certificate_id,
                serial=f"{2**126 + serial:x}",
            )
        )

    refused(await publisher.create(CA), RejectionCode.CONFLICT, "12000", str(MAX_TBS_BYTES), "another CA")


async def test_ten_thousand_fit():
    publisher = CrlPublisher(CA)
    for serial in range(10_000):
        publisher.log.take(
            CertificateRevoked(
                certificate_id=ALICE.certificate_id,
                reason=RevocationReason.SUPERSEDED,
                issuer_id=CA.certificate_id,
                serial=f"{2**126 + serial:x}",
            )
        )

    published = await publisher.crl(CA)

    assert (published.entries, len(published.crl_pem) < 800_000) == (10_000, True)


MOMENTS = st.lists(
    st.tuples(
        st.sampled_from(("hold", "release", "revoke", "crl", "restart", "restore")),
        st.integers(0, 7),
        st.integers(0, 5 * 24 * 60),
    ),
    max_size=40,
)
LEAVES = [holder(Profile.PIV_AUTHENTICATION, CA, days=10 + n) for n in range(8)]  # some end while this goes on


@settings(max_examples=60, deadline=None)
@given(MOMENTS)
async def test_every_revoked_unexpired_certificate_is_in_no_other_is_and_numbers_only_grow(moments):
    publisher, at, final, held, numbers = CrlPublisher(CA), NOON, set(), set(), [0]
    for what, which, minutes in moments:
        at, leaf = at + minutes * MINUTE, LEAVES[which]
        match what:
            case "hold" if leaf.serial not in final | held:
                publisher.log.take(leaf.held(), at)
                held.add(leaf.serial)
            case "release" if leaf.serial in held:
                publisher.log.take(leaf.released(), at)
                held.discard(leaf.serial)
            case "revoke" if leaf.serial not in final:
                publisher.log.take(leaf.revoked(), at)
                held.discard(leaf.serial)
                final.add(leaf.serial)
            case "restart":
                log = Log()
                log.events = publisher.log.events
                again = CrlPublisher(CA, log=log)
                again.states, again.events, publisher = publisher.states, publisher.events, again
            case "restore" if publisher.events:
                publisher.forget_crls_after(publisher.events[len(publisher.events) // 2].number, CA)
                at += MINUTE
            case "crl":
                created = await publisher.create(CA, at)
                if not isinstance(created, CrlCreated):
                    continue
                published = await publisher.publish(CA, created, at)
                numbers.append(published.number)
                listed = {f"{serial:x}" for serial in serials(published)}
                assert listed <= final | held
                assert listed >= {
                    each.serial for each in LEAVES if each.serial in final | held and each.state.not_after >= at
                }
    assert all(before < after for before, after in pairwise(numbers))


@settings(max_examples=30, deadline=None)
@given(MOMENTS, st.integers(0, 40))
async def test_the_crl_of_a_log_is_the_same_octet_by_octet_for_whoever_read_it_when(moments, seen_before):
    events = [
        getattr(LEAVES[which], {"hold": "held", "release": "released"}.get(what, "revoked"))()
        for what, which, _ in moments
    ]
    whole, in_parts = CrlPublisher(CA), CrlPublisher(CA)
    for n, event in enumerate(events):
        whole.log.take(event, NOON + n * MINUTE)
        in_parts.log.take(event, NOON + n * MINUTE)
        if n == seen_before:
            await in_parts.log.catch_up()

    one, other = await whole.create(CA, NOON + DAY), await in_parts.create(CA, NOON + DAY)

    assert one == other


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.ED25519])
async def test_openssl_and_pkilint_find_nothing_wrong_with_a_crl(algorithm, tmp_path):
    issuer = holder(Profile.ROOT, key=private_key(algorithm, "crl"), since=now() - DAY, days=30)
    good, bad, held = (holder(Profile.PIV_AUTHENTICATION, issuer, since=now() - DAY, name=n) for n in ("g", "b", "h"))
    publisher = CrlPublisher(issuer)
    publisher.log.take(bad.revoked(RevocationReason.CESSATION_OF_OPERATION, invalidity_date=now() - DAY), now() - HOUR)
    publisher.log.take(held.held(), now() - HOUR)
    published = await publisher.crl(issuer, now())
    crl, root = tmp_path / "crl.pem", tmp_path / "root.pem"
    crl.write_text(published.crl_pem)
    root.write_text(issuer.pem)

    assert crl_findings(published.crl_pem) == []
    assert "verify OK" in _openssl("crl", "-in", crl, "-CAfile", root, "-noout", "-verify").stderr
    text = _openssl("crl", "-in", crl, "-noout", "-text").stdout
    for words in ("Version 2", "X509v3 CRL Number", "Cessation Of Operation", "Certificate Hold", "Invalidity Date"):
        assert words in text
    for each, verdict in ((good, "OK"), (bad, "certificate revoked"), (held, "certificate revoked")):
        leaf = tmp_path / "leaf.pem"
        leaf.write_text(each.pem)
        done = _openssl("verify", "-crl_check_all", "-x509_strict", "-CAfile", root, "-CRLfile", crl, leaf)
        assert verdict in done.stdout + done.stderr


async def test_openssl_finds_a_revoked_authority_in_the_middle_of_a_chain(tmp_path):
    root = holder(Profile.ROOT, since=now() - DAY)
    middle = holder(Profile.INTERMEDIATE, root, since=now() - DAY)
    leaf = holder(Profile.PIV_AUTHENTICATION, middle, since=now() - DAY)
    publisher, paths = (
        CrlPublisher(root, middle),
        {name: tmp_path / name for name in ("root", "middle", "leaf", "crls")},
    )
    for name, each in (("root", root), ("middle", middle), ("leaf", leaf)):
        paths[name].write_text(each.pem)
    chain = ("-CAfile", paths["root"], "-untrusted", paths["middle"], "-CRLfile", paths["crls"], paths["leaf"])

    def verdict(*crls):
        paths["crls"].write_text("".join(each.crl_pem for each in crls))
        done = _openssl("verify", "-crl_check_all", "-x509_strict", *chain)
        return done.stdout + done.stderr

    of_middle = await publisher.crl(middle, now())
    assert "OK" in verdict(await publisher.crl(root, now()), of_middle)
    publisher.log.take(middle.revoked(RevocationReason.CA_COMPROMISE), now())
    assert "certificate revoked" in verdict(await publisher.crl(root, now()), of_middle)


def _openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


async def test_an_ml_dsa_authority_has_crls_too():
    issuer = holder(Profile.ROOT, key=ml_dsa_key())
    publisher = CrlPublisher(issuer)
    publisher.log.take(holder(Profile.PIV_AUTHENTICATION, issuer).revoked())

    published = await publisher.crl(issuer)

    assert parsed(published).is_signature_valid(issuer.certificate.public_key())
    assert crl_findings(published.crl_pem) == []


async def test_after_2049_times_are_written_with_four_digits():
    issuer = holder(Profile.ROOT, days=36_000)

    crl = parsed(await CrlPublisher(issuer).crl(issuer, NOON + 10_000 * DAY))

    assert crl.last_update_utc == NOON + 10_000 * DAY
    assert crl_findings((await CrlPublisher(issuer).crl(issuer, NOON + 10_000 * DAY)).crl_pem) == []


async def test_what_is_told_is_what_was_asked_for():
    created = await CrlPublisher(CA).create(CA)

    assert created.certificate_id == CreateCrl(certificate_id=CA.certificate_id).identity
    assert (created.signing_key_id, created.signature_algorithm) == (CA.state.key_id, SignatureAlgorithm.ECDSA_SHA256)
