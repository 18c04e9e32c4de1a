"""Properties of issuance on the wire: serials are unique, and no certificate outlives its issuer."""

import base64
import json
import random
from datetime import datetime

from tests.integration.test_certificate_service import INTERMEDIATE, LEAF, ROOT_KEY, issue, issue_root, serving
from tests.support.service_client import ServiceClient

PROFILES = ("authentication", "tls-client", "digital-signature", "card-authentication", "code-signing", "intermediate")


def a_wish(chance, issuers):
    wish = LEAF | {"profile": chance.choice(PROFILES), "issuer_id": chance.choice(issuers)}
    wish |= {"validity_days": chance.choice([1, 30, 90, 365, 366, 1095, 1824, 1825, 1826, 3650, 36_500])}
    if wish["profile"] == "intermediate":
        wish |= {"subject": {"common_name": f"CA {chance.random()}"}}
    return wish


async def test_of_hundreds_of_wishes_none_shares_a_serial_nor_outlives_its_issuer(server, client):
    chance = random.Random(11)  # noqa: S311 - wishes, no secrets
    async with serving(server.url):
        people = await ServiceClient(client).connect()
        root = await issue_root(people)
        short = INTERMEDIATE | {"validity_days": 400, "issuer_id": root["certificate_id"]}
        issuer = await issue(people, ROOT_KEY, **short)
        ends = {each["certificate_id"]: datetime.fromisoformat(each["not_after"]) for each in (root, issuer)}
        created, refused = [], 0
        js = client.jetstream()
        for _ in range(400):
            body = json.dumps(a_wish(chance, list(ends))).encode()
            await js.publish("keys.commands.certificate.create", body)
        for _ in range(400):
            kind, told = await people.next_event()
            if kind == "certificate.created":
                created.append(told)
            else:
                assert told["code"] in {"invalid", "not-allowed"}, told
                refused += 1

    serials = [each["serial"] for each in [root, issuer, *created]]
    assert len(set(serials)) == len(serials)
    for each in created:
        assert datetime.fromisoformat(each["not_after"]) <= ends[each["issuer_id"]]
        assert is_in_what_is_signed(each)
    assert len(created) > 50
    assert refused > 50


def is_in_what_is_signed(created):
    """The serial that is told of is the one in the bytes to be signed (DER: an INTEGER)."""
    serial = int(created["serial"], 16)
    content = serial.to_bytes(serial.bit_length() // 8 + 1)
    return b"\x02" + bytes([len(content)]) + content in base64.b64decode(created["tbs"])
