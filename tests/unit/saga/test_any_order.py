"""Sagas under any order of deliveries, duplicates, timeouts and crashes: each ends once, completed or undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.saga.core.state import Phase
from services.saga.definitions.certificate_expiry import CERTIFICATE_EXPIRY
from services.saga.definitions.certificate_issuance import CERTIFICATE_ISSUANCE
from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from services.saga.definitions.certificate_renewal import CERTIFICATE_RENEWAL
from services.saga.definitions.crl_publication import CRL_PUBLICATION
from services.saga.definitions.device_lost import DEVICE_LOST
from services.saga.definitions.key_expiry import KEY_EXPIRY
from services.saga.definitions.key_rotation import KEY_ROTATION
from services.saga.definitions.nats_provisioning import NATS_PROVISIONING
from services.saga.definitions.nats_users import NATS_USER_ISSUANCE, NATS_USER_REVOCATION
from services.saga.definitions.ocsp_publication import OCSP_PUBLICATION
from services.saga.definitions.person_offboarding import PERSON_OFFBOARDING
from services.saga.definitions.person_onboarding import PERSON_ONBOARDING
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP, PKI_BOOTSTRAP_1
from services.saga.definitions.ssh_certificate_issuance import SSH_CERTIFICATE_ISSUANCE
from shared.contracts.certificate.ssh import SshCertificateKind
from shared.contracts.certificate.value_types import DistinguishedName, Profile
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.saga.certificates import (
    CaAlgorithm,
    CertificationAuthority,
    StartCertificateIssuance,
    StartCertificateRenewal,
    StartPkiBootstrap,
    StartSshCertificateIssuance,
)
from shared.contracts.saga.keys import StartKeyRotation
from shared.contracts.saga.maintenance import (
    ExpiryStage,
    StartCertificateExpiry,
    StartCrlPublication,
    StartKeyExpiry,
    StartOcspPublication,
)
from shared.contracts.saga.nats import StartNatsProvisioning, StartNatsUserIssuance, StartNatsUserRevocation
from shared.contracts.saga.people import StartDeviceLost, StartPersonOffboarding, StartPersonOnboarding
from shared.contracts.saga.protocol import PauseSaga, ResumeSaga, RetrySaga, WithdrawSaga
from shared.contracts.saga.provisioning import KeyOrigin, PersonName, PivPurpose, StartCertificateProvisioning
from shared.contracts.yubikey.lifecycle import (
    RetirementReason,
)
from shared.messages.envelope import subject_of
from shared.messages.ids import derive_id
from tests.support.saga_simulation import START, World
from tests.support.toy_services import ISSUER_ID

SAGA_ID = str(START)
AUTHORITY = CertificationAuthority(common_name="CA", algorithm=CaAlgorithm.EC_P256, validity_days=365)
BOOTSTRAP = StartPkiBootstrap(saga_id=SAGA_ID, organization="Acme", root=AUTHORITY, intermediate=AUTHORITY)


def provisioning(origin: KeyOrigin, purpose: PivPurpose = PivPurpose.AUTHENTICATION) -> StartCertificateProvisioning:
    return StartCertificateProvisioning(
        saga_id=SAGA_ID,
        issuer_id=ISSUER_ID,
        subject=PersonName(common_name="Alice"),
        purpose=purpose,
        yubikey_serial="42000001",
        key_origin=origin,
        validity_days=90,
    )


def issuance(profile: Profile = Profile.TLS_SERVER, **changes: Any) -> StartCertificateIssuance:
    facts = {"saga_id": SAGA_ID, "issuer_id": ISSUER_ID, "profile": profile, "validity_days": 90}
    return StartCertificateIssuance(
        **{**facts, "subject": DistinguishedName(common_name="www"), "algorithm": Algorithm.EC_P256, **changes}
    )


def renewal(**changes: Any) -> StartCertificateRenewal:
    return StartCertificateRenewal(saga_id=SAGA_ID, certificate_id=ISSUER_ID, **changes)


SSH = StartSshCertificateIssuance(
    saga_id=SAGA_ID,
    ca_key_id=ISSUER_ID,
    kind=SshCertificateKind.USER,
    public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    key_identity="alice",
    principals=("alice",),
    validity_minutes=60,
)
ONE, OTHER = (str(derive_id(START, name)) for name in ("one", "other"))
ROTATION = StartKeyRotation(
    saga_id=SAGA_ID, key_id=ISSUER_ID, algorithm=Algorithm.EC_P256, purpose=Purpose.CERTIFICATE_SIGNING, overlap_days=30
)
ONBOARDING = StartPersonOnboarding(
    saga_id=SAGA_ID,
    person_id="alice",
    subject=PersonName(common_name="Alice"),
    yubikey_serial="42000001",
    label="A-17",
    role="person",
    issuer_id=ISSUER_ID,
    purposes=(PivPurpose.AUTHENTICATION, PivPurpose.DIGITAL_SIGNATURE),
    validity_days=90,
)
OFFBOARDING = StartPersonOffboarding(
    saga_id=SAGA_ID, person_id="alice", certificate_ids=(ONE, OTHER), key_ids=(ISSUER_ID,), yubikey_serial="42000001"
)
DEVICE_GONE = StartDeviceLost(
    saga_id=SAGA_ID, yubikey_serial="42000001", certificate_ids=(ONE,), retire=RetirementReason.LOST_OR_STOLEN
)
NATS = StartNatsProvisioning(
    saga_id=SAGA_ID, operator="Acme", account="APP", user="svc", recipient_public_key=bytes(32)
)
NATS_USER = StartNatsUserIssuance(saga_id=SAGA_ID, account_key_id=ISSUER_ID, user="svc", recipient_public_key=bytes(32))
NATS_REVOKED = StartNatsUserRevocation(
    saga_id=SAGA_ID, account_key_id=ISSUER_ID, user_key_id=ONE, user_nkey="U" + "B" * 55
)
CRL = StartCrlPublication(saga_id=SAGA_ID, issuer_id=ISSUER_ID)
SAGAS = {
    "bootstrap-1": (PKI_BOOTSTRAP_1, BOOTSTRAP),
    "bootstrap": (PKI_BOOTSTRAP, BOOTSTRAP),
    "bootstrap-approved": (PKI_BOOTSTRAP, BOOTSTRAP.model_copy(update={"approvals": 2})),
    "issuance": (CERTIFICATE_ISSUANCE, issuance()),
    "issuance-approved": (CERTIFICATE_ISSUANCE, issuance(algorithm=None, csr_pem="-----BEGIN TOY-----", approvals=2)),
    "issuance-of-authority": (CERTIFICATE_ISSUANCE, issuance(Profile.INTERMEDIATE)),
    "renewal": (CERTIFICATE_RENEWAL, renewal()),
    "renewal-approved": (CERTIFICATE_RENEWAL, renewal(approvals=1)),
    "expiry": (
        CERTIFICATE_EXPIRY,
        StartCertificateExpiry(saga_id=SAGA_ID, certificate_id=ISSUER_ID, stage=ExpiryStage.EXPIRED),
    ),
    "key-expiry": (KEY_EXPIRY, StartKeyExpiry(saga_id=SAGA_ID, key_id=ISSUER_ID)),
    "crl": (CRL_PUBLICATION, CRL),
    "crl-approved": (CRL_PUBLICATION, CRL.model_copy(update={"approvals": 2})),
    "ocsp": (OCSP_PUBLICATION, StartOcspPublication(saga_id=SAGA_ID, issuer_id=ISSUER_ID)),
    "rotation": (KEY_ROTATION, ROTATION),
    "rotation-of-certificates": (KEY_ROTATION, ROTATION.model_copy(update={"certificate_ids": (ONE, OTHER)})),
    "onboarding": (PERSON_ONBOARDING, ONBOARDING),
    "offboarding": (PERSON_OFFBOARDING, OFFBOARDING),
    "device-lost": (DEVICE_LOST, DEVICE_GONE),
    "nats": (NATS_PROVISIONING, NATS),
    "nats-user": (NATS_USER_ISSUANCE, NATS_USER),
    "nats-user-revoked": (NATS_USER_REVOCATION, NATS_REVOKED),
    "ssh": (SSH_CERTIFICATE_ISSUANCE, SSH),
    "on-device": (CERTIFICATE_PROVISIONING, provisioning(KeyOrigin.ON_DEVICE)),
    "imported": (CERTIFICATE_PROVISIONING, provisioning(KeyOrigin.IMPORTED)),
    "imported-and-escrowed": (
        CERTIFICATE_PROVISIONING,
        provisioning(KeyOrigin.IMPORTED, PivPurpose.KEY_MANAGEMENT),
    ),
}
ACTIONS = ("deliver", "deliver", "deliver", "hear", "hear", "hear", "say", "say", "time", "crash", "cancel", "order")
ORDERS = (PauseSaga, ResumeSaga, RetrySaga, WithdrawSaga)
each_saga = pytest.mark.parametrize("which", SAGAS)


def begun(which: str, broken: frozenset[str] = frozenset()) -> World:
    return World.begin(*SAGAS[which], broken)


def nothing_is_left(world: World) -> bool:
    return not (
        world.slots
        or world.holders()
        or world.existing_keys()
        or world.existing_certificates()
        or world.existing_nats_jwts()
    )


def check_the_end(world: World) -> None:
    ends = [event for event in world.announced if type(event).__name__.endswith(("Completed", "Compensated", "Failed"))]
    subjects = [str(subject_of(event)) for event in world.announced]
    sequences = [event.sequence for event in world.announced]

    assert len(ends) == 1
    assert len(set(subjects)) == len(subjects)  # each is published once for ever, by its subject
    assert sequences == list(range(len(sequences)))
    match world.saga.phase:
        case Phase.COMPENSATED:
            assert nothing_is_left(world)
        case Phase.FAILED:  # an undo was never answered, however often it was asked: that is said
            assert world.saga.left_over
            assert all("no outcome" in left.reason for left in world.saga.left_over)
        case phase:
            assert phase is Phase.COMPLETED


@each_saga
def test_left_alone_it_completes(which):
    world = begun(which)
    world.settle()

    assert world.saga.phase is Phase.COMPLETED
    check_the_end(world)


def _question_types() -> list[tuple[str, str]]:
    found = []
    for which in SAGAS:
        world = begun(which)
        world.settle()
        kinds = dict.fromkeys(type(sent.command).__name__ for sent in world.commands)
        found += [(which, kind) for kind in kinds]
    return found


@pytest.mark.parametrize(("which", "kind"), _question_types())
def test_whichever_step_is_refused_all_before_it_is_undone(which, kind):
    world = begun(which, frozenset({kind}))
    world.settle()

    if any(asked.stuck for asked in world.saga.pending):  # it has passed its pivot: it waits for a person
        world.broken = frozenset()
        world.operate(RetrySaga(saga_id=SAGA_ID))
        world.settle()
        assert world.saga.phase is Phase.COMPLETED
    elif kind == "DestroyKey":  # it is also how a key is undone: what cannot be destroyed is left over, and said
        assert world.saga.phase is Phase.FAILED
        assert [left.step for left in world.saga.left_over] == ["generate-key"]
    else:
        assert world.saga.phase is Phase.COMPENSATED
        check_the_end(world)


@each_saga
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order_any_duplicate_any_timeout_any_crash(which, data):
    world = lived(which, data, 60)
    world.settle()

    check_the_end(world)


def lived(which: str, data: Any, most: int, actions: Sequence[str] = ACTIONS) -> World:
    """A world in which anything has happened, at most so many things."""
    world = begun(which)
    for action in data.draw(st.lists(st.sampled_from(actions), max_size=most)):
        step(world, action, data)
    return world


def step(world: World, action: str, data: Any) -> None:
    match action:
        case "deliver" if world.commands:
            world.deliver(data.draw(st.sampled_from(world.commands)))
        case "hear" if world.events:
            world.receive(data.draw(st.sampled_from(world.events)))
        case "say":
            actor, number = data.draw(st.sampled_from(("ada", "bob", "eve"))), data.draw(st.integers(0, 1))
            world.signal(actor, number=number)
        case "time":
            world.pass_time()
        case "crash":
            world.crash()
        case "cancel":
            world.cancel()
        case "order":
            world.operate(data.draw(st.sampled_from(ORDERS))(saga_id=SAGA_ID), data.draw(st.integers(0, 2)))
        case _:
            pass


@each_saga
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_an_ending_is_final(which, data):
    world = lived(which, data, 30)
    world.settle()
    end = world.saga
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=10).map(without_orders)):
        step(world, action, data)

    assert world.saga == end


def without_orders(actions: list[str]) -> list[str]:
    """A complete saga may still be withdrawn, and one that failed be tried again: by an operator alone."""
    return [action for action in actions if action != "order"]
