"""Sagas with child sagas in the whole suite: onboarding, lost devices, key rotation."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = {"common_name": "Alice", "email": "alice@acme.example"}


async def onboarded(suite, serial, **changes):
    body = {
        "person_id": f"alice-{serial}",
        "subject": ALICE,
        "yubikey_serial": str(serial),
        "label": f"A-{serial}",
        "role": "person",
        "issuer_id": suite.issuer_id,
        "purposes": ["authentication", "digital-signature", "card-authentication"],
        "validity_days": 365,
    }
    return await suite.end_of(await suite.start_saga("person-onboarding", **{**body, **changes}))


async def ended(suite, saga_type, **body):
    return await suite.end_of(await suite.start_saga(saga_type, **body))


async def test_a_person_gets_a_device_with_a_key_and_a_certificate_for_each_purpose(suite):
    end = await onboarded(suite, 42000001)
    assert end.tokens[4] == "completed", end.body
    assert len(end.body["certificate_ids"]) == 3

    for slot in ("9a", "9c", "9e"):
        assert (await suite.sees_in_slot("42000001", slot)).subject.split(".")[3] == "slot-verified"
    detected = await suite.ask("yubikey.detect", {"serial": "42000001"})
    assert (detected.body["default_pin"], detected.body["default_management_key"]) == (False, False)


async def test_one_slot_that_fails_undoes_the_others_and_gives_the_device_back(suite):
    taken = await suite.ask("yubikey.generate-key", {"serial": "42000002", "slot": "9c", "algorithm": "ec-p256"})
    assert taken.subject.split(".")[3] == "slot-populated"
    end = await onboarded(suite, 42000002)

    assert end.tokens[4] == "compensated", end.body
    assert "assign-device" in end.body["undone"]
    detected = await suite.ask("yubikey.detect", {"serial": "42000002"})
    assert [slot["slot"] for slot in detected.body["slots"]] == ["9c"]  # whoever had it, has it still
    revoked = await suite.events("keys.events.yubikey.assignment-revoked.42000002")
    assert len(revoked) == 1


async def test_a_person_goes(suite):
    onboarding = await onboarded(suite, 42000003)
    ids = onboarding.body["certificate_ids"]
    wish = {"person_id": "alice-42000003", "certificate_ids": ids, "yubikey_serial": "42000003"}
    end = await ended(suite, "person-offboarding", **wish)
    assert end.tokens[4] == "completed", end.body

    for certificate_id in ids:
        revoked = await suite.last_event(f"keys.events.certificate.revoked.{certificate_id}")
        assert revoked.body["reason"] == "affiliationChanged"
        await suite.last_event(f"keys.events.certificate.crl-published.{suite.issuer_id}")
    detected = await suite.ask("yubikey.detect", {"serial": "42000003"})
    assert (detected.body["slots"], detected.body["default_pin"]) == ([], True)


async def test_a_device_is_lost(suite):
    onboarding = await onboarded(suite, 42000004, purposes=["authentication"])
    ids = onboarding.body["certificate_ids"]
    end = await ended(suite, "device-lost", yubikey_serial="42000004", certificate_ids=ids, location="a train")
    assert end.tokens[4] == "completed", end.body

    revoked = await suite.last_event(f"keys.events.certificate.revoked.{ids[0]}")
    assert revoked.body["reason"] == "keyCompromise"
    refused = await suite.ask("yubikey.generate-key", {"serial": "42000004", "slot": "9c", "algorithm": "ec-p256"})
    assert "is lost" in refused.body["message"]


async def test_a_key_gives_way_to_another_and_its_certificates_follow(suite):
    wish = {"issuer_id": suite.issuer_id, "profile": "tls-client", "subject": {"common_name": "service"}}
    issued = await ended(suite, "certificate-issuance", **wish, algorithm="ec-p256", validity_days=90)
    key_id, certificate_id = issued.body["key_id"], issued.body["certificate_id"]
    purpose = (await suite.last_event(f"keys.events.key.generated.{key_id}")).body["purpose"]
    rotation = {"key_id": key_id, "algorithm": "ec-p384", "purpose": purpose, "certificate_ids": [certificate_id]}
    end = await ended(suite, "key-rotation", **rotation)

    assert end.tokens[4] == "completed", end.body
    successor, (renewed,) = end.body["successor_id"], end.body["certificate_ids"]
    assert (await suite.last_event(f"keys.events.certificate.signed.{renewed}")).body["key_id"] == successor
    assert (await suite.last_event(f"keys.events.certificate.revoked.{certificate_id}")).body["reason"] == "superseded"
    await suite.last_event(f"keys.events.key.archived.{key_id}")


async def test_a_key_whose_certificates_cannot_be_issued_anew_does_not_give_way(suite):
    """With no overlap at all: what is too late to be cancelled must not have been begun."""
    wish = {"issuer_id": suite.issuer_id, "profile": "tls-client", "subject": {"common_name": "svc"}}
    issued = (await ended(suite, "certificate-issuance", **wish, algorithm="ec-p256", validity_days=90)).body
    await ended(suite, "certificate-renewal", certificate_id=issued["certificate_id"])  # it is superseded by that
    purpose = (await suite.last_event(f"keys.events.key.generated.{issued['key_id']}")).body["purpose"]
    rotation = {"key_id": issued["key_id"], "algorithm": "ec-p384", "purpose": purpose}

    saga_id = await suite.start_saga("key-rotation", **rotation, certificate_ids=[issued["certificate_id"]])
    end = await suite.end_of(saga_id)

    assert end.tokens[4] == "compensated", end.body
    assert "superseded" in end.body["reason"]
    told = [event.tokens[3] for event in await suite.events(f"keys.events.key.*.{issued['key_id']}")]
    assert told == ["generated"]


async def test_a_complete_provisioning_is_withdrawn(suite):
    saga_id = await suite.provision(yubikey_serial="42000005")
    assert (await suite.end_of(saga_id)).tokens[4] == "completed"
    await suite.ask("saga.withdraw", {"saga_id": saga_id, "reason": "the wrong person"})
    undone = await suite.last_event(f"keys.events.saga.certificate-provisioning.undone.*.{saga_id}")

    assert undone.body["undone"] == ["create-certificate", "generate-slot-key"]
    detected = await suite.ask("yubikey.detect", {"serial": "42000005"})
    assert detected.body["slots"] == []
