"""Triggers: the sagas that each event starts, and when."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from pydantic_core import from_json

from services.saga import store
from services.saga.core import machine, triggers
from services.saga.core.state import Origin, Phase
from services.saga.definitions import DEFINITIONS
from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from services.saga.definitions.crl_publication import CRL_PUBLICATION
from shared.contracts.base import Event
from shared.contracts.registry import MESSAGES
from shared.contracts.saga.maintenance import StartCrlPublication
from shared.messages.ids import derive_id
from tests.support.saga_simulation import NOON, START
from tests.support.toy_services import ISSUER_ID
from tests.unit.saga.test_any_order import begun

OTHER = "01a1fbdc-0000-7000-8000-000000000009"
SOON, END = "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"
PEM, SHA = "-----BEGIN TOY-----", "0" * 64
LIFE = {"not_before": "2026-01-01T00:00:00Z", "not_after": END}
ABOUT = {"certificate_id": OTHER, "issuer_id": ISSUER_ID, "serial": "01"}
SIGNED = {**ABOUT, **LIFE, "profile": "tls-server", "certificate_pem": PEM, "fingerprint_sha256": SHA}
BATCH = {"batch_id": OTHER, "issuer_id": ISSUER_ID, "responder_id": OTHER, "answers": []}
PUBLISHED = {**BATCH, "this_update": SOON, "next_update": END, "next_at": SOON}
KEY = {"key_id": OTHER, "algorithm": "ec-p256", "public_key_pem": PEM, "fingerprint_sha256": SHA, "exportable": False}
BORN = {**KEY, "purpose": "digital-signature", "provenance": "software"}
NEWEST = {d.request: d for d in sorted(DEFINITIONS, key=lambda d: d.version)}
TRIGGERS = triggers.by_event_type(NEWEST.values())


STORED, GATHERED = "2026-11-21T12:00:00.400000+00:00", "2026-11-21T12:00:01.250000+00:00"


def event(name: str, **facts: Any) -> Event:
    return MESSAGES[name].model_validate_json(json.dumps(facts))


def begins(name: str, **facts: Any) -> list[tuple[str, dict[str, Any], datetime | None]]:
    """Returns the sagas that an event triggers: request type, fields beside the id, and time."""
    found = triggers.triggered_starts(TRIGGERS.get(name, ()), START, event(name, **facts), at(STORED))
    return [
        (
            type(one.request).__name__,
            one.request.model_dump(mode="json", exclude={"saga_id"}, exclude_defaults=True),
            one.at,
        )
        for one in found
    ]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


CRL_OF_ISSUER = ("StartCrlPublication", {"issuer_id": ISSUER_ID}, at(GATHERED))
STATUS = ("StartOcspPublication", {"issuer_id": ISSUER_ID, "certificate_ids": [OTHER]}, None)


def stage(name: str, when: str) -> Any:
    return ("StartCertificateExpiry", {"certificate_id": OTHER, "stage": name}, at(when))


REVOKED = {**ABOUT, "reason": "superseded", "not_after": END}
ALL = {"issuer_id": ISSUER_ID, "responder_id": OTHER}
RENEW = ("StartCertificateRenewal", {"certificate_id": OTHER}, None)
EXPIRING = {"certificate_id": OTHER, "profile": "tls-server", "not_after": END}


@pytest.mark.parametrize(
    ("name", "facts", "begun"),
    [
        ("CertificateSigned", SIGNED, [stage("expired", END)]),
        ("CertificateSigned", {**SIGNED, "expiring_at": SOON}, [stage("expiring", SOON)]),
        ("CertificateSigned", {**SIGNED, "ocsp": True}, [stage("expired", END), STATUS]),
        (
            "CertificateSigned",
            {**SIGNED, "profile": "ocsp-responder"},
            [stage("expired", END), ("StartOcspPublication", ALL, None)],
        ),
        ("CertificateImported", {**SIGNED, "key_id": None, "expiring_at": SOON}, [stage("expiring", SOON)]),
        ("CertificateExpiring", {**EXPIRING, "renewal": True}, [RENEW, stage("expired", END)]),
        ("CertificateExpiring", {**EXPIRING, "renewal": False}, [stage("expired", END)]),
        ("CertificateRevoked", REVOKED, [CRL_OF_ISSUER]),
        ("CertificateRevoked", {**REVOKED, "ocsp": True}, [CRL_OF_ISSUER, STATUS]),
        ("CertificateRevoked", {**REVOKED, "issuer_id": None}, []),
        ("CertificateRevoked", {**REVOKED, "signed": False}, []),
        ("CertificateHeld", {**ABOUT, "not_after": END}, [CRL_OF_ISSUER]),
        ("CertificateReleased", {**ABOUT, "ocsp": True}, [CRL_OF_ISSUER, STATUS]),
        ("OcspPublished", {**PUBLISHED, "everyone": False, "more_after": None}, []),
        (
            "OcspPublished",
            {**PUBLISHED, "everyone": True, "more_after": 64},
            [("StartOcspPublication", {**ALL, "after": 64}, None)],
        ),
        (
            "OcspPublished",
            {**PUBLISHED, "everyone": True, "more_after": None},
            [("StartOcspPublication", ALL, at(SOON))],
        ),
        ("KeyGenerated", BORN, []),
        ("KeyGenerated", {**BORN, "expires_at": SOON}, [("StartKeyExpiry", {"key_id": OTHER}, at(SOON))]),
        ("KeyImported", {**BORN, "expires_at": SOON}, [("StartKeyExpiry", {"key_id": OTHER}, at(SOON))]),
    ],
)
def test_an_event_begins_what_follows_from_it_when_it_is_time(name, facts, begun):
    assert sorted(begins(name, **facts), key=str) == sorted(begun, key=str)


def test_a_crl_begins_the_next_one_when_it_is_due():
    facts = {"certificate_id": ISSUER_ID, "number": 1, "crl_pem": PEM, "fingerprint_sha256": SHA, "entries": 0}
    when = {"this_update": LIFE["not_before"], "next_update": END, "next_at": SOON}

    assert begins("CrlPublished", **facts, **when) == [("StartCrlPublication", {"issuer_id": ISSUER_ID}, at(SOON))]


def of_revocation(event_id, stored, **changes):
    revoked = event("CertificateRevoked", **{**REVOKED, "ocsp": True, **changes})
    begun = triggers.triggered_starts(TRIGGERS["CertificateRevoked"], event_id, revoked, at(stored))
    return {type(one.request).__name__: one.request.saga_id for one in begun}


def test_an_event_that_is_heard_again_names_the_same_sagas_and_each_its_own():
    once = of_revocation(START, STORED)

    assert once == of_revocation(START, STORED)
    assert len(set(once.values())) == 2
    assert not set(of_revocation(derive_id(START, "another"), GATHERED).values()) & set(once.values())


def test_revocations_of_one_issuer_in_one_second_begin_one_crl_and_each_its_own_answers():
    one, other = of_revocation(START, STORED), of_revocation(derive_id(START, "another"), STORED[:-6] + "9+00:00")
    elsewhere = of_revocation(START, STORED, issuer_id=OTHER)

    assert one["StartCrlPublication"] == other["StartCrlPublication"] != elsewhere["StartCrlPublication"]
    assert one["StartOcspPublication"] != other["StartOcspPublication"]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: f"{d.saga_type}-{d.version}")
def test_the_triggers_of_a_saga_on_the_same_event_have_names_of_their_own(definition):
    names = [(trigger.event_type, trigger.name) for trigger in definition.triggers]

    assert len(set(names)) == len(names)


def test_sagas_that_one_event_began_ask_under_ids_of_their_own():
    origin = Origin(command_id=START, correlation_id=START, actor="tester", triggered=True)
    first = StartCrlPublication(saga_id=str(derive_id(START, "a")), issuer_id=ISSUER_ID)
    second = StartCrlPublication(saga_id=str(derive_id(START, "b")), issuer_id=ISSUER_ID)
    one, two = (machine.begin(CRL_PUBLICATION, request, origin, NOON) for request in (first, second))

    assert one.announcements[0].cause == START
    assert one.pending[0].cause == one.announcements[0].event_id
    assert one.pending[0].command_id != two.pending[0].command_id


def as_version_0_1_wrote_it(saga):
    """Before there were signals, and while a saga asked one thing at a time."""
    stored = from_json(store.encode_entry(saga))
    new = ("signals", "finished", "still_since", "paused_at", "past_pivot", "turn", "orders", "resolved", "questions")
    (question,) = stored["questions"]
    kept = {name: question[name] for name in question if name not in ("people", "asleep", "patient", "stuck")}
    old = {name: value for name, value in stored.items() if name not in new}
    return {**old, "schema": 1, "question": kept}


def test_an_entry_that_an_older_version_wrote_is_still_read_and_goes_on():
    world = begun("on-device")
    for _ in range(3):
        world.deliver(world.commands[-1])
        world.receive(world.events[-1])
    as_read = store.decode_entry(CERTIFICATE_PROVISIONING, as_version_0_1_wrote_it(world.saga))
    world.saga = as_read
    world.settle()

    assert world.saga.phase is Phase.COMPLETED
    assert [event.sequence for event in world.announced] == list(range(len(world.announced)))
