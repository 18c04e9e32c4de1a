"""`certificate.verify` on a real server: validity at a time, according to the log."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from services.certificate.service import certificate_service
from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.verification.performer import PathChecker
from services.certificate.verification.status_log import StatusLog
from shared.contracts.certificate.commands import VerifyCertificate
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateImported,
    CertificateReleased,
    CertificateRevoked,
)
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.messages.catalog import LOG
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.streams import declare
from tests.support.certificate_factory import Party
from tests.support.in_memory_ca import Authority, private_key, request
from tests.support.settings import certificate_settings

ROOT_KEY = private_key(Algorithm.EC_P384)
CA_KEY, LEAF_KEY = private_key(Algorithm.EC_P256), private_key(Algorithm.EC_P256, 1)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
TICK = timedelta(microseconds=2)
NOW = datetime.now(UTC)  # the log's own clock is the server's, so that of the certificates must be it as well
BIRTH = NOW - 30 * DAY


class Told(Authority):
    """Outcomes appear in the log."""

    def __init__(self, tell):
        super().__init__()
        self._tell = tell

    async def ask(self, command, at=BIRTH):
        answer = await super().ask(command, at)
        await self._tell(answer)
        return answer


class Log:
    """A log that the test writes: who was certified, held, released and revoked, and when the server heard of it."""

    def __init__(self, js):
        self._js = js
        self._authority = Told(self.tell)
        self.verification = PathChecker(StatusLog(js))

    async def tell(self, event):
        """Returns the instant after it: nats-py tells the same one in two ways that differ by a microsecond."""
        sealed = encode_event(event, Lineage.root(new_id()), "certificate")
        stored = await self._js.publish(sealed.subject, sealed.payload, headers=sealed.headers)
        return (await self._js.get_msg(LOG, seq=stored.seq)).time + TICK

    async def bootstrap(self):
        self.root = await self._authority.root(ROOT_KEY, BIRTH)
        self.intermediate = await self._authority.intermediate(CA_KEY, self.root, ROOT_KEY, BIRTH)
        wish = request(Profile.PIV_AUTHENTICATION, LEAF_KEY, issuer_id=self.intermediate.certificate_id)
        self.leaf = await self._authority.issue(wish, CA_KEY, BIRTH)

    async def hold(self, signed):
        return await self.tell(CertificateHeld(not_after=signed.not_after, **_of(signed)))

    async def release(self, signed):
        return await self.tell(CertificateReleased(**_of(signed)))

    async def revoke(self, signed, **more):
        return await self.tell(CertificateRevoked(reason=RevocationReason.KEY_COMPROMISE, **_of(signed), **more))

    async def ask(self, signed=None, at=NOW, **more):
        certificate_id = (signed or self.leaf).certificate_id
        return await self.verification.perform(CheckPath(VerifyCertificate(certificate_id=certificate_id, **more), at))

    async def ask_of(self, pem, at=NOW, **more):
        request = VerifyCertificate(certificate_id=str(new_id()), certificate_pem=pem, **more)
        return await self.verification.perform(CheckPath(request, at))


def _of(signed):
    return {"certificate_id": signed.certificate_id, "issuer_id": signed.issuer_id, "serial": signed.serial}


@pytest.fixture(name="log")
async def _log(client):
    await declare(client)
    log = Log(client.jetstream())
    await log.bootstrap()
    return log


def good(answer):
    return answer.reason is None


async def test_a_certificate_of_ours_is_good_by_a_path_to_our_root(log):
    answer = await log.ask()

    assert isinstance(answer, PathChecked)
    assert answer.path == tuple(each.fingerprint_sha256 for each in (log.leaf, log.intermediate, log.root))


@pytest.mark.parametrize("which", ["leaf", "intermediate", "root"])
async def test_it_is_good_but_while_it_or_an_authority_of_it_is_on_hold_and_after_one_is_revoked(log, which):
    party = getattr(log, which)
    held = await log.hold(party)
    released = await log.release(party)
    revoked = await log.revoke(party)

    answers = [
        good(await log.ask(at=at))
        for at in (held - 3 * TICK, held, released, revoked - 3 * TICK, revoked, revoked + DAY)
    ]

    assert answers == [True, False, True, True, False, False]


async def test_what_is_said_after_an_answer_is_heard_before_the_next(log):
    before = await log.ask()
    revoked = await log.revoke(log.leaf)

    assert good(before)
    assert (await log.ask(at=revoked)).reason == "it was revoked at that instant"
    assert good(await log.ask(at=revoked - SECOND))


async def test_a_revocation_reaches_back_to_when_the_key_was_lost(log):
    lost = NOW - DAY
    await log.revoke(log.leaf, invalidity_date=lost)

    assert not good(await log.ask(at=lost))
    assert good(await log.ask(at=lost - SECOND))


async def test_before_it_was_issued_it_was_not_good(log):
    assert "valid from" in (await log.ask(at=BIRTH - DAY)).reason


async def test_after_its_end_it_will_not_be_good(log):
    assert good(await log.ask(at=log.leaf.not_after))
    assert "valid until" in (await log.ask(at=log.leaf.not_after + SECOND)).reason


async def test_an_authority_is_verified_like_any_other_and_may_be_the_one_that_is_trusted(log):
    shorter = await log.ask(anchors=(log.intermediate.certificate_id,))

    assert (await log.ask(log.root)).path == (log.root.fingerprint_sha256,)
    assert (await log.ask(log.intermediate)).path == (log.intermediate.fingerprint_sha256, log.root.fingerprint_sha256)
    assert shorter.path == (log.leaf.fingerprint_sha256, log.intermediate.fingerprint_sha256)


async def test_nothing_is_good_while_no_root_that_is_trusted_stands(log):
    revoked = await log.revoke(log.root)

    assert (await log.ask(at=revoked)).reason == "no trusted root was valid at that instant"


async def test_it_is_good_for_the_names_that_it_has(log):
    assert "not among its alternative names" in (await log.ask(name="www.example.org")).reason


async def test_one_that_is_handed_in_is_recognised_as_ours(log):
    assert good(await log.ask_of(log.leaf.certificate_pem))

    revoked = await log.revoke(log.leaf)

    assert "revoked" in (await log.ask_of(log.leaf.certificate_pem, at=revoked)).reason
    assert good(await log.ask_of(log.leaf.certificate_pem, at=revoked - SECOND))


async def test_an_imported_root_is_trusted_and_a_stranger_is_not(log):
    theirs = Party("Their root")
    leaf = Party("Their leaf", theirs, ca=False)

    assert not good(await log.ask_of(leaf.pem))

    imported = CertificateImported(
        certificate_id=str(new_id()),
        profile=Profile.ROOT,
        certificate_pem=theirs.pem,
        serial=f"{theirs.certificate.serial_number:x}",
        fingerprint_sha256="0" * 64,
        issuer_id=None,
        key_id=None,
        not_before=theirs.certificate.not_valid_before_utc,
        not_after=theirs.certificate.not_valid_after_utc,
    )
    await log.tell(imported)

    assert good(await log.ask_of(leaf.pem))
    assert good(await log.ask_of(leaf.pem, anchors=(imported.certificate_id,)))
    assert not good(await log.ask_of(leaf.pem, anchors=(log.root.certificate_id,)))


async def test_intermediates_may_be_handed_in(log):
    between = Party("Between", Party("Root"))
    leaf = Party("Leaf", between, ca=False)

    answer = await log.ask_of(leaf.pem, intermediates_pem=(between.pem,))

    assert "no path" in answer.reason


@pytest.mark.parametrize(
    ("wish", "code", "words"),
    [
        ({"pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, RejectionCode.INVALID, "in DER"),
        ({"pem": "-----BEGIN NONSENSE-----"}, RejectionCode.INVALID, "must be one certificate in PEM"),
        ({"intermediates_pem": ("-----BEGIN CERTIFICATE-----",)}, RejectionCode.INVALID, "intermediates_pem[0]"),
        (
            {"anchors": ("0192f0c1-0000-7000-8000-00000000dead",)},
            RejectionCode.NOT_FOUND,
            "not a CA certificate of this",
        ),
        ({"name": "..."}, RejectionCode.INVALID, "name"),
    ],
    ids=str,
)
async def test_what_cannot_be_answered_is_refused_with_what_is_wrong(log, wish, code, words):
    answer = await log.ask_of(**({"pem": log.leaf.certificate_pem} | wish))

    assert isinstance(answer, PathNotChecked)
    assert answer.code is code
    assert words in answer.problem


async def test_a_log_that_lost_its_end_is_read_anew(log, client):
    """Replaces the log, like a restored backup: events that were read before are gone."""
    revoked = await log.revoke(log.leaf)
    assert not good(await log.ask(at=revoked))

    await client.jetstream().delete_stream(LOG)
    await declare(client)
    await log.bootstrap()

    assert good(await log.ask(at=revoked))


async def test_junk_in_the_log_disables_nothing(log, client):
    js = client.jetstream()
    await js.publish("keys.events.certificate.revoked.junk", b"junk")
    await js.publish("keys.events.certificate.signed.junk", b'"root"')

    assert good(await log.ask())


async def test_the_service_answers_the_command(server, client):
    app = certificate_service(certificate_settings(server.url))
    await app.start()
    try:
        log = Log(client.jetstream())
        await log.bootstrap()
        events = await client.subscribe("keys.events.certificate.verified.>")
        wish = {"certificate_id": log.leaf.certificate_id, "usage": "tls-client"}
        answers = []
        for at in ({}, {"at": BIRTH.isoformat()}, {"at": (BIRTH - DAY).isoformat()}, {"usage": "tls-server"}):
            await client.jetstream().publish("keys.commands.certificate.verify", json.dumps(wish | at).encode())
            answers.append(json.loads((await events.next_msg(timeout=10)).data))
    finally:
        await app.stop()

    assert [answer["valid"] for answer in answers] == [True, True, False, False]
    assert [len(answer["path"]) for answer in answers] == [3, 3, 0, 0]
    assert [answer["usage"] for answer in answers] == ["tls-client"] * 3 + ["tls-server"]
