"""Sagas that fail, are started twice or are cancelled: completed steps are rolled back, and nothing else."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from shared.messages.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGINS = ["on-device", "imported"]
UNKNOWN = "0192f0c1-0000-7000-8000-000000000000"
TOO_LONG_FOR_X509 = {"common_name": "é" * 40}
"""64 characters are a name; 64 bytes are the most that X.509 takes."""
FAILING = {
    "unknown issuer": ({"issuer_id": UNKNOWN}, "not-found"),
    "too long validity": ({"validity_days": 36_000}, "invalid"),
    "too long name": ({"subject": TOO_LONG_FOR_X509}, "invalid"),
    "an issuer whose key is revoked": ({"doomed": True}, "conflict"),
    "absent YubiKey": ({"yubikey_serial": "49999999"}, "unavailable"),
    "key that the slot's device cannot have": ({"algorithm": "x25519"}, None),
}


async def everything_is_undone(suite, saga_id, serial, slot):
    """Checks the rollback in the log and on the device."""
    mine = [event for event in await suite.events() if event.headers.get("CIM-Saga-Id") == saga_id]
    ids = {
        kind: {event.tokens[-1] for event in mine if event.tokens[2:4] == kind.split(".")}
        for kind in ("certificate.created", "certificate.revoked", "key.generated", "key.revoked", "key.destroyed")
    }
    assert ids["certificate.created"] <= ids["certificate.revoked"]
    assert ids["key.generated"] <= ids["key.revoked"] & ids["key.destroyed"]
    seen = await suite.sees_in_slot(serial, slot)
    assert seen.tokens[3] == "rejected"
    return ids


@contextmanager
def stopped(suite, name):
    """A service that stands still: what it is asked meanwhile is in mid-flight."""
    os.kill(suite.pid(name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(suite.pid(name), signal.SIGCONT)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("failure", FAILING)
async def test_a_provisioning_that_fails_is_undone_and_says_why(suite, failure, origin):
    changes, code = FAILING[failure]
    wish = {"yubikey_serial": "42000001", "key_origin": origin, **changes}

    end = await suite.end_of(saga_id := await suite.provision(**wish))

    assert end.tokens[4] == "compensated", end.body
    if code is not None:
        assert end.body["reason"].startswith(f"{code}: ")
    compensating = next(event for event in await suite.announced(saga_id) if event.tokens[4] == "compensating")
    assert end.body["undone"] == compensating.body["steps_to_undo"]
    await everything_is_undone(suite, saga_id, wish["yubikey_serial"], "9a")


async def test_a_certificate_that_was_issued_is_revoked_when_its_import_fails(suite):
    occupied = {"yubikey_serial": "42000002", "purpose": "digital-signature"}
    first = await suite.end_of(await suite.provision(**occupied))

    end = await suite.end_of(saga_id := await suite.provision(**occupied, key_origin="imported"))

    assert end.tokens[4] == "compensated"
    mine = [event for event in await suite.events() if event.headers.get("CIM-Saga-Id") == saga_id]
    kinds = [".".join(event.tokens[2:4]) for event in mine if event.tokens[2] != "saga"]
    assert "certificate.signed" in kinds
    assert kinds.index("certificate.signed") < kinds.index("certificate.revoked")
    assert kinds.index("key.exported") < kinds.index("key.revoked") < kinds.index("key.destroyed")
    seen = await suite.sees_in_slot("42000002", "9c")
    assert seen.body["fingerprint_sha256"] == first.body["fingerprint_sha256"]


async def test_a_slot_that_was_undone_can_be_provisioned_afterwards(suite):
    where = {"yubikey_serial": "42000003"}
    undone = await suite.end_of(await suite.provision(**where, doomed=True))
    done = await suite.end_of(await suite.provision(**where))

    assert [undone.tokens[4], done.tokens[4]] == ["compensated", "completed"]


async def test_a_saga_that_overwrote_a_key_and_then_fails_says_that_a_person_is_needed(suite):
    where = {"yubikey_serial": "42000004"}
    await suite.end_of(await suite.provision(**where))

    end = await suite.end_of(await suite.provision(**where, replace=True, doomed=True))

    assert end.tokens[4] == "failed"
    assert [left["step"] for left in end.body["left_over"]] == ["generate-slot-key"]
    assert "overwritten" in end.body["left_over"][0]["reason"]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_what_cannot_be_issued_overwrites_nothing(suite, origin):
    slot = {"on-device": "85", "imported": "86"}[origin]
    where = {"yubikey_serial": "42000004", "slot": slot}
    first = await suite.end_of(await suite.provision(**where))

    end = await suite.end_of(
        saga_id := await suite.provision(**where, key_origin=origin, replace=True, validity_days=5000)
    )

    assert (end.tokens[4], end.body["undone"]) == ("compensated", [])
    assert "at most 1185 days" in end.body["reason"]
    mine = [event for event in await suite.events() if event.headers.get("CIM-Saga-Id") == saga_id]
    assert {event.tokens[2] for event in mine} <= {"saga", "command"}
    seen = await suite.sees_in_slot("42000004", slot)
    assert seen.body["certificate_pem"] == first.body["certificate_pem"]
    assert seen.body["fingerprint_sha256"] == first.body["fingerprint_sha256"]
    key = load_pem_x509_certificate(first.body["certificate_pem"].encode()).public_key()
    assert load_pem_public_key(seen.body["public_key_pem"].encode()) == key


async def test_a_saga_started_twice_is_one_saga_and_the_second_start_is_repeated(suite):
    saga_id = str(new_id())
    wish = {"yubikey_serial": "42000005", "saga_id": saga_id}
    await suite.end_of(await suite.provision(**wish))
    before = await suite.announced(saga_id)

    again = await _ask_to_provision(suite, **wish)

    assert again.subject.startswith("keys.events.command.repeated.")
    assert again.body["details"]["phase"] == "completed"
    assert await suite.announced(saga_id) == before


async def test_a_saga_started_again_with_another_body_is_a_conflict(suite):
    saga_id = str(new_id())
    wish = {"yubikey_serial": "42000006", "saga_id": saga_id}
    await suite.end_of(await suite.provision(**wish))
    before = await suite.announced(saga_id)

    for other in ({"validity_days": 30}, {"yubikey_serial": "42000007"}):
        rejected = await _ask_to_provision(suite, **{**wish, **other})
        assert (rejected.tokens[3], rejected.body["code"]) == ("rejected", "conflict")
        assert "choose another saga_id" in rejected.body["message"]

    authority = {"common_name": "Another CA", "algorithm": "ec-p256", "validity_days": 365}
    bootstrap = {"saga_id": saga_id, "organization": "Acme", "root": authority, "intermediate": authority}
    rejected = await suite.ask("saga.pki-bootstrap.start", bootstrap)
    assert (rejected.tokens[3], rejected.body["code"]) == ("rejected", "conflict")
    assert await suite.announced(saga_id) == before


@pytest.mark.parametrize("standing_still", ["certificate", "yubikey", "key"])
@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_saga_cancelled_in_mid_flight_is_undone(suite, standing_still, origin):
    slot = {"certificate": "82", "yubikey": "83", "key": "84"}[standing_still]
    wish = {"yubikey_serial": "42000008", "slot": slot, "key_origin": origin}
    with stopped(suite, standing_still):
        saga_id = await suite.provision(**wish)
        await suite.last_event(f"keys.events.saga.*.started.{saga_id}")
        cancelled = await suite.ask("saga.cancel", {"saga_id": saga_id, "reason": "wrong person"})
        assert cancelled.tokens[4] == "compensating"
        assert (cancelled.body["code"], cancelled.body["reason"]) == ("cancelled", "wrong person")

    end = await suite.end_of(saga_id)

    assert end.tokens[4] == "compensated"
    await everything_is_undone(suite, saga_id, "42000008", slot)


async def test_a_saga_waits_for_a_service_that_stands_still_and_then_goes_on(suite):
    with stopped(suite, "certificate"):
        saga_id = await suite.provision(yubikey_serial="42000009")
        started = await suite.last_event(f"keys.events.saga.*.started.{saga_id}")
        assert (await suite.announced(saga_id))[-1].sequence == started.sequence

    assert (await suite.end_of(saga_id)).tokens[4] == "completed"


async def test_what_is_over_cannot_be_cancelled(suite):
    completed = await suite.provision(yubikey_serial="42000010")
    compensated = await suite.provision(yubikey_serial="42000011", validity_days=36_000)
    for saga_id, phase in ((completed, "completed"), (compensated, "compensated")):
        await suite.end_of(saga_id)
        before = await suite.announced(saga_id)

        refused = await suite.ask("saga.cancel", {"saga_id": saga_id})

        assert (refused.tokens[3], refused.body["code"]) == ("rejected", "conflict")
        assert phase in refused.body["message"]
        assert await suite.announced(saga_id) == before


async def test_what_never_was_cannot_be_cancelled(suite):
    refused = await suite.ask("saga.cancel", {"saga_id": str(new_id())})

    assert (refused.tokens[3], refused.body["code"]) == ("rejected", "not-found")


async def _ask_to_provision(suite, **body):
    standard = {
        "issuer_id": suite.issuer_id,
        "subject": {"common_name": "Alice", "email": "alice@acme.example"},
        "purpose": "authentication",
        "key_origin": "on-device",
        "validity_days": 365,
    }
    return await suite.ask("saga.certificate-provisioning.start", {**standard, **body})
