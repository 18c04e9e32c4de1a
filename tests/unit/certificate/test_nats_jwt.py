"""The NATS JWT decider, as given-when-then."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from services.certificate.nats_jwt.domain import NATS_JWT
from services.certificate.nats_jwt.effects import CheckSignature, SignatureChecked
from services.certificate.nats_jwt.performer import perform
from services.key.crypto.nkeys import public_nkey
from shared.contracts.certificate.nats_jwt import (
    CreateNatsJwt,
    NatsAccountLimits,
    NatsEntity,
    NatsJwtRevoked,
    NatsJwtSigned,
    NatsPermissions,
    ReviseNatsJwt,
    RevokedNatsUser,
    RevokeNatsJwt,
    SignNatsJwt,
)
from shared.contracts.key.value_types import Purpose
from shared.contracts.rejection import RejectionCode
from tests.support.scenario import NOON, Scenario

ID, SIGNER_ID = (f"0192f0c1-0000-7000-8000-00000000000{n}" for n in range(2))
KEYS = {
    purpose: Ed25519PrivateKey.generate()
    for purpose in (Purpose.NATS_OPERATOR, Purpose.NATS_ACCOUNT, Purpose.NATS_USER)
}
OPERATOR, ACCOUNT, USER = (public_nkey(purpose, key.public_key().public_bytes_raw()) for purpose, key in KEYS.items())
OTHER_USER = public_nkey(Purpose.NATS_USER, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
given = Scenario(NATS_JWT).given


def wish(entity=NatsEntity.ACCOUNT, **changes):
    subject, issuer = {"operator": (OPERATOR,) * 2, "account": (ACCOUNT, OPERATOR), "user": (USER, ACCOUNT)}[entity]
    facts = {"nats_jwt_id": ID, "entity": entity, "name": "plant", "subject": subject, "issuer": issuer}
    return CreateNatsJwt(**{**facts, "signing_key_id": SIGNER_ID, **changes})


def created(*history, asked=None, at=NOON):
    return given(*history).when(asked or wish(), at).answer


def signed(about):
    signature = KEYS[Purpose.NATS_OPERATOR if about.issuer == OPERATOR else Purpose.NATS_ACCOUNT].sign(about.tbs)
    text = about.tbs + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    facts = {"nats_jwt_id": ID, "entity": about.entity, "subject": about.subject, "issuer": about.issuer}
    return NatsJwtSigned(**facts, jwt=text.decode(), version=about.version)


def claims(event):
    part = event.tbs.split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))


def revoking(*nkeys, **more):
    return ReviseNatsJwt(nats_jwt_id=ID, revoke_users=nkeys, **more)


@pytest.fixture(name="issued")
def _issued():
    """An account's first JWT, asked for at noon."""
    first = created()
    return [first, signed(first)]


def test_what_is_to_be_signed_says_who_vouches_for_whom_since_when():
    said = claims(created())

    assert (said["iss"], said["sub"], said["name"], said["iat"]) == (OPERATOR, ACCOUNT, "plant", NOON.timestamp())
    assert (said["nats"]["type"], said["nats"]["version"]) == ("account", 2)
    assert "exp" not in said


def test_an_account_keeps_streams_only_if_it_may():
    without, within = [
        claims(created(asked=wish(limits=NatsAccountLimits(jetstream=jetstream))))["nats"]["limits"]
        for jetstream in (False, True)
    ]

    assert {without[name] for name in ("mem_storage", "disk_storage", "streams", "consumer")} == {0}
    assert {within[name] for name in ("mem_storage", "disk_storage", "streams", "consumer")} == {-1}


def test_a_user_has_the_permissions_that_were_asked_for_and_an_end():
    permissions = NatsPermissions(publish_allow=("a.>",), subscribe_deny=("b",))

    said = claims(created(asked=wish(NatsEntity.USER, permissions=permissions, validity_days=30)))

    assert (said["nats"]["pub"], said["nats"]["sub"]) == ({"allow": ["a.>"]}, {"deny": ["b"]})
    assert said["exp"] - said["iat"] == timedelta(days=30).total_seconds()


def test_the_id_of_a_jwt_changes_with_what_it_says():
    ids = {claims(created(asked=wish(name=name)))["jti"] for name in ("a", "b")}

    assert len(ids) == 2


@pytest.mark.parametrize(
    ("entity", "changes", "words"),
    [
        ("account", {"issuer": ACCOUNT}, "issuer with O"),
        ("user", {"issuer": OPERATOR}, "issuer with A"),
        ("user", {"subject": ACCOUNT}, "subject begins with U"),
        ("account", {"system_account": ACCOUNT}, "only an operator has a system_account"),
    ],
)
def test_who_cannot_vouch_for_whom_is_told_so(entity, changes, words):
    with pytest.raises(ValidationError, match=words):
        wish(NatsEntity(entity), **changes)


def test_an_operator_vouches_for_itself_alone():
    other = public_nkey(Purpose.NATS_OPERATOR, Ed25519PrivateKey.generate().public_key().public_bytes_raw())

    with pytest.raises(ValidationError, match="its own"):
        wish(NatsEntity.OPERATOR, issuer=other)


def test_asked_for_again_it_stands_and_another_in_its_place_is_refused(issued):
    given(*issued).when(wish()).then_already_done()
    given(*issued).when(wish(name="other")).then_rejects(RejectionCode.CONFLICT, "nats-jwt.revise")


def test_a_signature_by_the_issuer_makes_it_a_jwt():
    first = created()
    signature = KEYS[Purpose.NATS_OPERATOR].sign(first.tbs)
    check = CheckSignature(OPERATOR, first.tbs, signature)

    given(first).when(SignNatsJwt(nats_jwt_id=ID, signature=signature)).then_performs(check)
    given(first).when(asyncio.run(perform(check))).then(signed(first))


@pytest.mark.parametrize("signer", [Purpose.NATS_ACCOUNT, Purpose.NATS_USER])
def test_a_signature_by_anybody_else_does_not(signer):
    first = created()
    checked = asyncio.run(perform(CheckSignature(OPERATOR, first.tbs, KEYS[signer].sign(first.tbs))))

    assert checked == SignatureChecked(checked.effect, is_valid=False)
    given(first).when(checked).then_rejects(RejectionCode.INVALID, "not by", OPERATOR)


def test_a_revised_account_keeps_out_who_was_revoked_by_then(issued):
    later = NOON + timedelta(hours=1)

    second = created(*issued, asked=revoking(USER), at=later)

    assert second.version == 2
    assert second.revoked_users == (RevokedNatsUser(nkey=USER, since=int(later.timestamp())),)
    assert claims(second)["nats"]["revocations"] == {USER: int(later.timestamp())}


def test_who_was_revoked_before_stays_so_and_is_revoked_anew_if_it_is_said_again(issued):
    second = created(*issued, asked=revoking(USER))
    later = NOON + timedelta(hours=1)

    third = created(*issued, second, signed(second), asked=revoking(OTHER_USER), at=later)
    anew = created(*issued, second, signed(second), asked=revoking(USER, OTHER_USER), at=later)

    assert {each.nkey: each.since for each in third.revoked_users} == {
        USER: int(NOON.timestamp()),
        OTHER_USER: int(later.timestamp()),
    }
    assert {each.since for each in anew.revoked_users} == {int(later.timestamp())}


def test_a_revision_whose_answer_was_lost_is_announced_again_as_it_was(issued):
    second = created(*issued, asked=revoking(USER))

    given(*issued, second).when(revoking(USER), NOON + timedelta(hours=1)).then(second)


def test_another_revision_waits_until_the_first_is_signed(issued):
    second = created(*issued, asked=revoking(USER))

    answer = given(*issued, second).when(revoking(OTHER_USER)).answer

    assert (answer.code, answer.retryable) == (RejectionCode.CONFLICT, True)
    assert "waits for its signature" in answer.message


def test_a_signature_for_another_version_than_the_one_that_waits_is_not_taken(issued):
    second = created(*issued, asked=revoking(USER))
    sign = SignNatsJwt(nats_jwt_id=ID, signature=bytes(64), version=1)

    answer = given(*issued, second).when(sign).answer

    assert answer.retryable
    assert "version 2" in answer.message


def test_a_signature_told_again_is_answered_with_the_jwt_that_has_it_or_a_later_one(issued):
    sign = SignNatsJwt(nats_jwt_id=ID, signature=bytes(64), version=1)

    given(*issued).when(sign).then(issued[-1])
    given(*issued).when(SignNatsJwt(nats_jwt_id=ID, signature=bytes(64))).then_already_done()


def test_other_limits_are_another_jwt_and_the_same_are_none(issued):
    limits = NatsAccountLimits(connections=3)

    second = created(*issued, asked=ReviseNatsJwt(nats_jwt_id=ID, limits=limits))

    assert claims(second)["nats"]["limits"]["conn"] == 3
    given(*issued).when(ReviseNatsJwt(nats_jwt_id=ID, limits=NatsAccountLimits())).then_already_done()


def test_only_an_account_s_is_revised():
    first = created(asked=wish(NatsEntity.USER))

    given(first, signed(first)).when(revoking(USER)).then_rejects(RejectionCode.CONFLICT, "no account's")


REVOKED = NatsJwtRevoked(nats_jwt_id=ID, reason="left", subject=ACCOUNT)
REVOKE = RevokeNatsJwt(nats_jwt_id=ID, reason="left")


def test_a_revoked_one_is_never_another_again(issued):
    given(*issued).when(REVOKE).then(REVOKED)
    given(*issued, REVOKED).when(REVOKE).then_already_done()
    for asked in (wish(), revoking(USER), SignNatsJwt(nats_jwt_id=ID, signature=bytes(64))):
        given(*issued, REVOKED).when(asked).then_rejects(RejectionCode.CONFLICT)


def test_one_that_is_taken_back_before_it_is_made_is_never_made():
    void = NatsJwtRevoked(nats_jwt_id=ID, reason="left", existed=False)

    given().when(RevokeNatsJwt(nats_jwt_id=ID, reason="left", void_if_absent=True)).then(void)
    given(void).when(wish()).then_rejects(RejectionCode.CONFLICT, "already")


@pytest.mark.parametrize("asked", [REVOKE, revoking(USER), SignNatsJwt(nats_jwt_id=ID, signature=bytes(64))])
def test_of_one_that_there_is_not_nothing_is_done(asked):
    given().when(asked).then_rejects(RejectionCode.NOT_FOUND, ID)
