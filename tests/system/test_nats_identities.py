"""The sagas of NATS identities: nats-server accepts their credentials with the right permissions."""

import asyncio
import base64
import json

import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio
from cryptography.exceptions import InvalidTag

from shared.messages.catalog import catalog
from shared.messages.permissions import permissions_of, roles
from shared.nats.client import flush_subscriptions
from shared.process.settings import NatsSettings
from tests.support.operator_mode import Recipient, let_in, operated
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING_BUT = {"publish_deny": ["secret.>"], "subscribe_allow": ["news.>", "_INBOX.>"]}


@pytest_asyncio.fixture(name="recipient", scope="module", loop_scope="module")
async def _recipient():
    return Recipient()


@pytest_asyncio.fixture(name="provisioned", scope="module", loop_scope="module")
async def _provisioned(suite, recipient):
    """Returns the result of `nats-provisioning`: an operator, and a user with limited permissions."""
    return await completed(
        suite,
        "nats-provisioning",
        operator="Acme",
        account="plant",
        user="ada",
        limits={"jetstream": True},
        permissions=EVERYTHING_BUT,
        recipient_public_key=recipient.public_key,
    )


@pytest_asyncio.fixture(name="server", scope="module", loop_scope="module")
async def _server(provisioned, tmp_path_factory):
    async with operated(provisioned, tmp_path_factory.mktemp("operated")) as server:
        yield server


async def completed(suite, saga_type, **request):
    end = await suite.end_of(await suite.start_saga(saga_type, **request))
    assert end.tokens[4] == "completed", end.body
    return end.body


async def another_user(suite, account_key_id, recipient, **more):
    wish = {"user": "bob", "account_key_id": account_key_id, "recipient_public_key": recipient.public_key}
    return await completed(suite, "nats-user-issuance", **wish, **more)


def as_user(server, told, recipient):
    return let_in(server, told["user_jwt"], recipient.seed_in(told))


async def test_the_user_is_let_in_and_hears_what_it_says(server, provisioned, recipient):
    async with as_user(server, provisioned, recipient) as ada:
        news = await ada.subscribe("news.>")
        await ada.publish("news.today", b"sun")

        assert (await news.next_msg(timeout=10)).data == b"sun"


async def test_the_user_may_do_no_more_than_its_permissions_say(server, provisioned, recipient):
    async with as_user(server, provisioned, recipient) as ada:
        await ada.publish("secret.plan", b"no")
        await ada.subscribe("gossip.>")
        await ada.flush()

        await until(lambda: len(ada.errors) == 2)
    assert {"permissions violation for publish to", "permissions violation for subscription to"} == {
        each.split(": ", 1)[-1].split(' "')[0].lower() for each in ada.errors
    }


async def test_an_account_that_may_keep_streams_keeps_them(server, provisioned, suite, recipient):
    bob = await another_user(suite, provisioned["account_key_id"], recipient)

    async with as_user(server, bob, recipient) as client:
        js = client.jetstream()
        await js.add_stream(name="LOG", subjects=["log.>"])
        await js.publish("log.line", b"kept")

        assert (await js.get_last_msg("LOG", "log.line")).data == b"kept"


async def test_accounts_hear_nothing_of_each_other(server, provisioned, suite, recipient):
    """The system account is another account: its user hears its own, and nothing of the plant's."""
    system = await another_user(suite, provisioned["system_account_key_id"], recipient)
    bob = await another_user(suite, provisioned["account_key_id"], recipient)

    async with as_user(server, system, recipient) as outside, as_user(server, bob, recipient) as inside:
        heard, hears = [await client.subscribe("plant.>") for client in (outside, inside)]
        await asyncio.gather(outside.flush(), inside.flush())
        await inside.publish("plant.pressure", b"7")
        await inside.flush()
        await outside.publish("plant.other", b"own")

        assert (await hears.next_msg(timeout=10)).data == b"7"
        assert (await heard.next_msg(timeout=10)).subject == "plant.other"
        assert (hears.pending_msgs, heard.pending_msgs) == (0, 0)


@pytest.mark.parametrize("wrong", ["another user's seed", "a user that no account of the operator's issued"])
async def test_who_only_pretends_is_not_let_in(server, provisioned, suite, recipient, wrong):
    bob = await another_user(suite, provisioned["account_key_id"], recipient)
    seed = recipient.seed_in(bob)
    if wrong == "another user's seed":
        jwt = provisioned["user_jwt"]
    else:
        header, _, signature = bob["user_jwt"].split(".")
        claims = claims_of(bob["user_jwt"]) | {"nats": claims_of(bob["user_jwt"])["nats"] | {"payload": 1}}
        jwt = ".".join((header, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature))

    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        async with let_in(server, jwt, seed):
            pass


async def test_a_revoked_user_is_cut_off_and_not_let_in_again_and_others_stay(server, provisioned, suite, recipient):
    system = await another_user(suite, provisioned["system_account_key_id"], recipient)
    eve = await another_user(suite, provisioned["account_key_id"], recipient)
    bob = await another_user(suite, provisioned["account_key_id"], recipient)

    async with (
        as_user(server, eve, recipient) as inside,
        as_user(server, bob, recipient) as stays,
        as_user(server, system, recipient) as operator,
    ):
        revoked = await completed(
            suite,
            "nats-user-revocation",
            account_key_id=provisioned["account_key_id"],
            user_key_id=eve["user_key_id"],
            user_nkey=eve["user_nkey"],
        )
        answer = await operator.request("$SYS.REQ.CLAIMS.UPDATE", revoked["account_jwt"].encode(), timeout=10)
        assert json.loads(answer.data)["data"]["code"] == 200
        await until(lambda: inside.is_closed)

        await stays.flush()
        assert stays.is_connected
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        async with as_user(server, eve, recipient):
            pass
    (_, (key_revoked,)) = [
        await suite.events(f"keys.events.{kind}.revoked.{eve['user_key_id']}") for kind in ("nats-jwt", "key")
    ]
    assert key_revoked.body["key_id"] == eve["user_key_id"]


async def test_revoking_goes_on_from_the_account_s_latest_jwt(provisioned, suite, recipient):
    """Two revocations of one account at a time: the later JWT has both, whichever that is."""
    users = [await another_user(suite, provisioned["account_key_id"], recipient) for _ in range(3)]

    ends = await asyncio.gather(
        *(
            completed(
                suite,
                "nats-user-revocation",
                account_key_id=provisioned["account_key_id"],
                user_key_id=user["user_key_id"],
                user_nkey=user["user_nkey"],
            )
            for user in users
        )
    )

    latest = max(ends, key=lambda end: end["version"])
    said = claims_of(latest["account_jwt"])["nats"]
    assert {user["user_nkey"] for user in users} <= set(said["revocations"])
    assert said["limits"]["streams"] == -1


async def test_a_provisioning_that_cannot_be_completed_leaves_no_identity(suite):
    saga_id = await suite.start_saga(
        "nats-provisioning",
        operator="Acme",
        account="plant",
        user="ada",
        recipient_public_key=base64.b64encode(bytes(32)).decode(),
    )

    end = await suite.end_of(saga_id)

    assert end.tokens[4] == "compensated", end.body
    made, destroyed = [await suite.events(f"keys.events.key.{verb}.*") for verb in ("generated", "destroyed")]
    of_saga = {
        each.body["key_id"] for each in made if each.headers["CIM-Correlation-Id"] == end.headers["CIM-Correlation-Id"]
    }
    assert len(of_saga) == 4
    assert of_saga <= {each.body["key_id"] for each in destroyed}


async def test_the_seed_is_nowhere_but_in_its_sealing(suite, provisioned, recipient):
    seed = recipient.seed_in(provisioned).decode()

    for event in await suite.events():
        assert seed not in json.dumps(event.body)
    with pytest.raises(InvalidTag):
        Recipient().seed_in(provisioned)


async def test_each_role_of_the_catalog_comes_by_a_credentials_file_and_may_do_what_is_its_own(
    server, provisioned, suite, recipient, tmp_path
):
    for role in roles(catalog()):
        allowed = permissions_of(role, catalog())
        permissions = {
            "publish_allow": allowed.publish,
            "publish_deny": allowed.withheld,
            "subscribe_allow": allowed.subscribe,
        }
        told = await another_user(suite, provisioned["account_key_id"], recipient, permissions=permissions)
        (tmp_path / role).write_text(credentials_file(told["user_jwt"], recipient.seed_in(told).decode()))

        await is_let_in_for_its_own(NatsSettings(creds=tmp_path / role).access, server.url, role)


async def is_let_in_for_its_own(access, url, role):
    allowed, refusals = permissions_of(role, catalog()), []

    async def heard(problem):
        refusals.append(str(problem))

    client = await access.connect(url, role, allow_reconnect=False, error_cb=heard)
    try:
        await client.publish("elsewhere", b"")
        await client.subscribe(">")
        await flush_subscriptions(client)
        assert len(refusals) == 2, role

        await client.subscribe(f"_INBOX.{role}.>")
        await client.publish(allowed.publish[0].replace("*", "1").replace(">", "1"), b"")
        await flush_subscriptions(client)
        assert len(refusals) == 2, role
    finally:
        await client.close()


def credentials_file(jwt, seed):
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


async def test_a_user_with_an_end_is_not_let_in_after_it(provisioned, suite, recipient):
    told = await another_user(suite, provisioned["account_key_id"], recipient, validity_days=1)

    claims = claims_of(told["user_jwt"])

    assert claims["exp"] - claims["iat"] == 86_400


def claims_of(jwt):
    claims = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
