"""Batches of OCSP responses: preparation and publication, checked by openssl and cryptography."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from services.certificate.ocsp.domain import batch_capacity
from services.certificate.x509.states import Revoked
from shared.contracts.certificate.ocsp import OcspPrepared, OcspPublished, PrepareOcsp, PublishOcsp
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.ids import new_id
from tests.support.in_memory_ca import private_key
from tests.support.revocation_lists import OcspBatches
from tests.support.revocation_pki import DAY, holder, ml_dsa_key, now, sign_with
from tests.support.scenario import NOON

HOUR = timedelta(hours=1)
ROOT = holder(Profile.ROOT, days=3650)
CA = holder(Profile.INTERMEDIATE, ROOT, days=1825)
RESPONDER = holder(Profile.OCSP_RESPONDER, CA, days=100)
ALICE, BOB = (holder(Profile.PIV_AUTHENTICATION, CA, name=name) for name in ("Alice", "Bob"))


def read(answer):
    return ocsp.load_der_ocsp_response(answer.response)


def refused(answer, code, *words):
    assert isinstance(answer, Rejection), answer
    assert answer.code == code
    for word in words:
        assert word in answer.message


async def published(batches, *about, at=NOON):
    prepared = await batches.prepare(CA, RESPONDER, *about, at=at)
    assert isinstance(prepared, OcspPrepared), prepared
    told = await batches.publish(prepared, RESPONDER, at)
    assert isinstance(told, OcspPublished), told
    return told


async def test_each_certificate_has_an_answer_for_sha_1_and_one_for_sha_256():
    told = await published(OcspBatches(CA, RESPONDER, ALICE, BOB), ALICE, BOB)

    assert [each.serial for each in told.answers] == [ALICE.serial, ALICE.serial, BOB.serial, BOB.serial]
    for answer, algorithm in zip(told.answers, (hashes.SHA1(), hashes.SHA256()) * 2, strict=True):  # noqa: S303 - RFC 6960
        response = read(answer)
        asked = ocsp.OCSPRequestBuilder().add_certificate(ALICE.certificate, CA.certificate, algorithm).build()
        assert (response.issuer_key_hash, response.issuer_name_hash) == (asked.issuer_key_hash, asked.issuer_name_hash)
        assert response.issuer_key_hash.hex() == answer.issuer_key_hash
        assert isinstance(response.hash_algorithm, type(algorithm))
        assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
        assert response.certificates == [RESPONDER.certificate]
        assert response.responder_name is None


async def test_an_answer_says_from_when_to_when_it_is_good_and_when_it_is_made_anew():
    told = await published(OcspBatches(CA, RESPONDER, ALICE), ALICE)

    response = read(told.answers[0])
    assert response.produced_at_utc == response.this_update_utc == told.this_update == NOON
    assert response.next_update_utc == told.next_update == NOON + 7 * DAY
    assert told.next_at == NOON + 3.5 * DAY


async def test_no_answer_outlives_the_responders_certificate():
    at = NOON + 88 * DAY  # two days before its end

    assert (await published(OcspBatches(CA, RESPONDER, ALICE), ALICE, at=at)).next_update == NOON + 90 * DAY


async def test_what_is_revoked_is_said_to_be_with_when_and_why_and_what_is_held_is_too():
    batches = OcspBatches(CA, RESPONDER, ALICE, BOB)
    batches.log.take(ALICE.revoked(RevocationReason.KEY_COMPROMISE), NOON - HOUR)
    batches.states[ALICE.certificate_id] = Revoked(
        serial=ALICE.serial, existed=True, reason=RevocationReason.KEY_COMPROMISE
    )
    batches.log.take(BOB.held(), NOON - HOUR)

    told = await published(batches, ALICE, BOB)

    reasons = [read(each).revocation_reason.value for each in told.answers]
    assert reasons == ["keyCompromise", "keyCompromise", "certificateHold", "certificateHold"]
    assert {read(each).revocation_time_utc for each in told.answers} == {NOON - HOUR}
    assert {read(each).certificate_status for each in told.answers} == {ocsp.OCSPCertStatus.REVOKED}


async def test_an_unspecified_reason_is_not_spelled_out():
    batches = OcspBatches(CA, RESPONDER, ALICE)
    batches.log.take(ALICE.revoked())

    assert read((await published(batches, ALICE)).answers[0]).revocation_reason is None


async def test_the_same_question_at_the_same_time_has_the_same_answer_octet_by_octet():
    batches = OcspBatches(CA, RESPONDER, ALICE)

    one, other = [await batches.prepare(CA, RESPONDER, ALICE) for _ in range(2)]

    assert one.answers == other.answers


async def test_who_the_issuer_does_not_know_is_named_in_the_refusal():
    stranger, voided = holder(Profile.PIV_AUTHENTICATION, ROOT), str(new_id())
    batches = OcspBatches(CA, ROOT, RESPONDER, ALICE, stranger)
    batches.states[voided] = Revoked(serial=None, existed=False, reason=RevocationReason.UNSPECIFIED)
    ghost = replace(ALICE, certificate_id=voided)

    answer = await batches.prepare(CA, RESPONDER, ALICE, stranger, ghost)

    refused(answer, RejectionCode.NOT_FOUND, stranger.certificate_id, voided)
    assert ALICE.certificate_id not in answer.message


async def test_only_a_responder_of_that_issuer_answers():
    elsewhere = holder(Profile.OCSP_RESPONDER, ROOT)
    keyless = replace(RESPONDER, state=replace(RESPONDER.state, key_id=None), certificate_id=str(new_id()))
    batches = OcspBatches(CA, ROOT, RESPONDER, ALICE, elsewhere, keyless)

    refused(await batches.prepare(CA, ALICE, ALICE), RejectionCode.NOT_ALLOWED, "ocsp-responder")
    refused(await batches.prepare(CA, elsewhere, ALICE), RejectionCode.NOT_ALLOWED, CA.certificate_id)
    refused(await batches.prepare(CA, keyless, ALICE), RejectionCode.CONFLICT, "key")
    refused(await batches.prepare(CA, BOB, ALICE), RejectionCode.CONFLICT, BOB.certificate_id)
    refused(await batches.prepare(CA, RESPONDER, ALICE, at=NOON + 99 * DAY), RejectionCode.CONFLICT, "valid")
    refused(await batches.prepare(BOB, RESPONDER, ALICE), RejectionCode.CONFLICT, BOB.certificate_id)


async def test_a_responder_that_is_held_neither_prepares_nor_publishes():
    batches = OcspBatches(CA, RESPONDER, ALICE)
    prepared = await batches.prepare(CA, RESPONDER, ALICE)
    batches.log.take(RESPONDER.held())

    refused(await batches.prepare(CA, RESPONDER, ALICE), RejectionCode.CONFLICT, "held")
    refused(await batches.publish(prepared, RESPONDER), RejectionCode.CONFLICT, "held")

    batches.states[RESPONDER.certificate_id] = Revoked(
        serial=RESPONDER.serial, existed=True, reason=RevocationReason.SUPERSEDED
    )
    refused(await batches.publish(prepared, RESPONDER), RejectionCode.CONFLICT, "revoked")


async def test_what_was_revoked_since_the_answer_was_made_is_left_out_of_what_is_published():
    batches = OcspBatches(CA, RESPONDER, ALICE, BOB)
    prepared = await batches.prepare(CA, RESPONDER, ALICE, BOB)
    batches.log.take(ALICE.revoked())

    told = await batches.publish(prepared, RESPONDER)

    assert {each.serial for each in told.answers} == {BOB.serial}


async def test_a_wrong_signature_or_a_wrong_number_of_them_is_refused():
    batches = OcspBatches(CA, RESPONDER, ALICE)
    prepared = await batches.prepare(CA, RESPONDER, ALICE)
    good = tuple(sign_with(RESPONDER.key, each.tbs) for each in prepared.answers)

    def publish(*signatures):
        return batches.ask(PublishOcsp(batch_id=prepared.batch_id, signatures=signatures))

    refused(await publish(good[0]), RejectionCode.INVALID, "2 responses")
    refused(await publish(good[1], good[0]), RejectionCode.INVALID, "signature 0")
    refused(await publish(good[0], sign_with(CA.key, prepared.answers[1].tbs)), RejectionCode.INVALID, "signature 1")
    assert isinstance(await publish(*good), OcspPublished)
    assert isinstance(await publish(*good), AlreadyDone)


async def test_a_batch_id_used_again_stands_and_one_that_is_not_known_is_refused():
    batches = OcspBatches(CA, RESPONDER, ALICE)
    told = await published(batches, ALICE)
    unknown = PublishOcsp(batch_id=str(new_id()), signatures=(b"x",))

    prepare = PrepareOcsp(batch_id=told.batch_id, issuer_id=CA.certificate_id)

    assert await batches.ask(prepare) == AlreadyDone()
    assert await batches.ask(PublishOcsp(batch_id=told.batch_id, signatures=(b"x",))) == AlreadyDone()
    refused(await batches.ask(unknown), RejectionCode.NOT_FOUND, unknown.batch_id)


async def test_a_batch_is_no_larger_than_a_message_may_be():
    key = ml_dsa_key()
    issuer = holder(Profile.ROOT, key=key)
    responder = holder(Profile.OCSP_RESPONDER, issuer, key=ml_dsa_key())
    leaves = [holder(Profile.PIV_AUTHENTICATION, issuer, key=private_key(Algorithm.EC_P256)) for _ in range(64)]
    batches = OcspBatches(issuer, responder, *leaves)
    most = batch_capacity(responder.pem)

    refused(await batches.prepare(issuer, responder, *leaves), RejectionCode.INVALID, str(most))
    prepared = await batches.prepare(issuer, responder, *leaves[:most])
    told = await batches.publish(prepared, responder)

    assert len(told.answers) == 2 * most
    assert 400_000 < len(told.model_dump_json()) < 900_000
    assert batch_capacity(RESPONDER.pem) == 64
    response = read(told.answers[0])
    responder.certificate.public_key().verify(response.signature, response.tbs_response_bytes)


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.ED25519])
async def test_openssl_believes_our_answers_of_the_good_and_of_the_revoked(algorithm, tmp_path):
    issuer = holder(Profile.ROOT, key=private_key(algorithm, "issuer"), since=now() - DAY)
    responder = holder(Profile.OCSP_RESPONDER, issuer, key=private_key(algorithm, "responder"), since=now() - DAY)
    good, bad = (holder(Profile.PIV_AUTHENTICATION, issuer, since=now() - DAY, name=name) for name in ("g", "b"))
    batches = OcspBatches(issuer, responder, good, bad)
    batches.log.take(bad.revoked(RevocationReason.SUPERSEDED), now() - HOUR)
    told = await batches.publish(await batches.prepare(issuer, responder, good, bad, at=now()), responder, now())
    root = tmp_path / "root.pem"
    root.write_text(issuer.pem)

    for answer, digest in zip(told.answers, ("-sha1", "-sha256") * 2, strict=True):
        leaf, response = tmp_path / "leaf.pem", tmp_path / "response.der"
        leaf.write_text((good if answer.serial == good.serial else bad).pem)
        response.write_bytes(answer.response)
        done = _openssl_ocsp("-respin", response, "-issuer", root, digest, "-cert", leaf, "-CAfile", root)

        assert "Response verify OK" in done.stderr, done.stderr
        assert f"{leaf}: {'good' if answer.serial == good.serial else 'revoked'}" in done.stdout
        assert ("Reason: superseded" in done.stdout) == (answer.serial == bad.serial)


def _openssl_ocsp(*arguments):
    return subprocess.run(["openssl", "ocsp", *map(str, arguments)], capture_output=True, text=True, check=False)
