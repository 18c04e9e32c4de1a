"""Documents of a bucket: optimistic concurrency, uniqueness over a pattern, erasure."""

import asyncio

import pytest

from shared.errors import Conflict
from shared.messages.ids import new_id
from shared.nats.kv import Document, KeyValue
from shared.nats.streams import declare


@pytest.fixture(name="sagas")
async def _sagas(client):
    await declare(client)
    return KeyValue(client.jetstream(), "KEYS_SAGAS")


@pytest.fixture(name="secrets")
def _secrets(sagas):
    return KeyValue(sagas.js, "KEYS_SECRETS")


async def _all(bucket):
    return {document.key: document.value async for document in bucket.all()}


async def test_what_was_put_is_what_is_got(sagas):
    revision = await sagas.put("pki-bootstrap.1", b"state", 0)

    assert await sagas.get("pki-bootstrap.1") == Document("pki-bootstrap.1", b"state", revision)


async def test_headers_go_with_what_is_put(sagas):
    await sagas.put("pki-bootstrap.1", b"state", 0, headers={"CIM-Sequence": "7"})

    stored = await sagas.js.get_msg("KV_KEYS_SAGAS", subject="$KV.KEYS_SAGAS.pki-bootstrap.1")
    assert stored.headers["CIM-Sequence"] == "7"
    with pytest.raises(Conflict):
        await sagas.put("pki-bootstrap.1", b"other", 0, headers={"CIM-Sequence": "8"})


async def test_what_nobody_put_is_nothing(sagas):
    assert await sagas.get("pki-bootstrap.1") is None


async def test_an_empty_document_is_a_document(sagas):
    revision = await sagas.put("pki-bootstrap.1", b"", 0)

    assert await sagas.get("pki-bootstrap.1") == Document("pki-bootstrap.1", b"", revision)


async def test_a_document_is_changed_only_over_the_revision_that_was_read(sagas):
    first = await sagas.put("pki-bootstrap.1", b"one", 0)
    second = await sagas.put("pki-bootstrap.1", b"two", first)

    for stale in (0, first, second + 1):
        with pytest.raises(Conflict):
            await sagas.put("pki-bootstrap.1", b"three", stale)

    assert (await sagas.get("pki-bootstrap.1")).value == b"two"


async def test_of_many_writers_at_once_exactly_one_writes(sagas):
    writing = [sagas.put("pki-bootstrap.1", str(writer).encode(), 0) for writer in range(20)]

    outcomes = await asyncio.gather(*writing, return_exceptions=True)

    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19


async def test_a_key_is_unique_over_a_pattern(sagas):
    revision = await sagas.put("pki-bootstrap.1", b"one", 0, unique="*.1")

    with pytest.raises(Conflict):
        await sagas.put("certificate-provisioning.1", b"another of this id", 0, unique="*.1")
    await sagas.put("certificate-provisioning.2", b"of another id", 0, unique="*.2")
    await sagas.put("pki-bootstrap.1", b"two", revision, unique="*.1")

    assert await _all(sagas) == {"pki-bootstrap.1": b"two", "certificate-provisioning.2": b"of another id"}


async def test_a_pattern_finds_the_one_key_that_it_matches(sagas):
    revision = await sagas.put("pki-bootstrap.1", b"one", 0)
    await sagas.put("pki-bootstrap.2", b"two", 0)

    assert await sagas.get("*.1") == Document("pki-bootstrap.1", b"one", revision)


async def test_all_lists_the_latest_of_each(sagas):
    for key in range(50):
        revision = await sagas.put(f"pki-bootstrap.{key}", b"old", 0)
        await sagas.put(f"pki-bootstrap.{key}", f"new {key}".encode(), revision)

    assert await _all(sagas) == {f"pki-bootstrap.{key}": f"new {key}".encode() for key in range(50)}


async def test_all_of_a_bucket_with_more_than_one_fits_in_a_pull_is_all(sagas):
    await asyncio.gather(*(sagas.put(f"pki-bootstrap.{key}", b"x" * 2000, 0) for key in range(1500)))

    assert len(await _all(sagas)) == 1500


@pytest.mark.parametrize("attempt", range(5))
async def test_all_of_a_bucket_with_one_document_is_that_document(sagas, attempt):
    await sagas.put("pki-bootstrap.1", str(attempt).encode(), 0)

    assert await _all(sagas) == {"pki-bootstrap.1": str(attempt).encode()}


async def test_all_of_an_empty_bucket_is_nothing(sagas):
    assert await _all(sagas) == {}


async def test_all_can_be_left_before_its_end(sagas):
    for key in range(5):
        await sagas.put(f"pki-bootstrap.{key}", b"x", 0)

    async for _ in (documents := sagas.all()):
        break
    await documents.aclose()

    assert len(await _all(sagas)) == 5


async def test_what_another_client_deleted_is_gone_and_can_be_put_again(sagas):
    await sagas.put("pki-bootstrap.1", b"one", 0)
    marker = await sagas.js.publish("$KV.KEYS_SAGAS.pki-bootstrap.1", b"", headers={"KV-Operation": "DEL"})

    assert await sagas.get("pki-bootstrap.1") is None
    assert await _all(sagas) == {}
    await sagas.put("pki-bootstrap.1", b"two", marker.seq)
    assert await _all(sagas) == {"pki-bootstrap.1": b"two"}


async def test_what_is_erased_is_gone_and_may_be_put_anew(secrets):
    await secrets.put("key.1", b"secret", 0)
    document = await secrets.get("key.1")
    await secrets.erase(document)
    await secrets.erase(document)

    assert await secrets.get("key.1") is None
    assert await _all(secrets) == {}
    assert await secrets.put("key.1", b"another", 0) > document.revision


def _on_disk(tmp_path, value):
    return [path.name for path in tmp_path.rglob("*") if path.is_file() and value in path.read_bytes()]


async def test_erasing_leaves_no_bytes_in_the_servers_files(secrets, server, tmp_path):
    secret = f"private key {new_id()}".encode()
    await secrets.put("key.0", b"something before it", 0)
    await secrets.put("key.1", secret, 0)
    await secrets.put("key.2", b"something after it", 0)
    server.kill()
    assert _on_disk(tmp_path, secret)
    await server.start()

    await secrets.erase(await _eventually(secrets, "key.1"))
    server.kill()

    assert _on_disk(tmp_path, secret) == []


async def test_what_is_replaced_is_gone_from_the_servers_files_too(secrets, server, tmp_path):
    first, second = (f"private key {new_id()}".encode() for _ in range(2))
    await secrets.put("key.0", b"something before it" * 100, 0)
    await secrets.put("key.1", first, 0)
    await secrets.put("key.2", b"something between" * 100, 0)

    await secrets.replace(await secrets.get("key.1"), second)
    await secrets.put("key.3", b"something after it" * 100, 0)
    server.kill()

    assert _on_disk(tmp_path, first) == []
    assert len(_on_disk(tmp_path, second)) == 1


async def test_what_was_overwritten_stays_until_it_is_erased_and_then_leaves_no_bytes(secrets, server, tmp_path):
    first, second = (f"private key {new_id()}".encode() for _ in range(2))
    await secrets.put("key.0", b"something before it" * 100, 0)
    revision = await secrets.put("key.1", first, 0)
    await secrets.put("key.1", second, revision)
    await secrets.put("key.3", b"something after it" * 100, 0)
    server.kill()
    assert _on_disk(tmp_path, first)
    await server.start()
    await _eventually(secrets, "key.1")

    assert await secrets.erase_overwritten() == 1
    assert await secrets.erase_overwritten() == 0
    server.kill()

    assert _on_disk(tmp_path, first) == []
    assert len(_on_disk(tmp_path, second)) == 1


async def test_erasing_all_of_a_pattern_leaves_no_bytes_of_any_revision(secrets, server, tmp_path):
    values = [f"private key {new_id()}".encode() for _ in range(3)]
    revision = await secrets.put("signature.1.a", values[0], 0)
    await secrets.put("signature.1.a", values[1], revision)
    await secrets.put("signature.1.b", values[2], 0)
    await secrets.put("signature.2.a", b"of another key", 0)

    await secrets.erase_all("signature.1.>")
    server.kill()

    assert [_on_disk(tmp_path, value) for value in values] == [[], [], []]
    assert _on_disk(tmp_path, b"of another key")


async def test_a_document_is_replaced_only_over_the_revision_that_was_read(secrets):
    await secrets.put("key.1", b"one", 0)
    document = await secrets.get("key.1")
    await secrets.replace(document, b"two")

    with pytest.raises(Conflict):
        await secrets.replace(document, b"three")

    assert await _all(secrets) == {"key.1": b"two"}


async def test_all_of_a_pattern_is_what_it_matches(secrets):
    for key in ("key.1", "kek.1", "kek.2"):
        await secrets.put(key, key.encode(), 0)

    assert {document.key async for document in secrets.all("kek.*")} == {"kek.1", "kek.2"}


async def _eventually(bucket, key):
    async with asyncio.timeout(10):
        while True:
            try:
                return await bucket.get(key)
            except Exception:  # noqa: BLE001 - while the server comes up, everything may go wrong
                await asyncio.sleep(0.05)


async def test_a_list_ends_although_what_it_had_to_list_is_erased_meanwhile(secrets):
    for turn in range(15):
        for number in range(40):
            await secrets.put(f"key.{turn}-{number}", b"sealed", 0)
        documents = [document async for document in secrets.all()]

        async def erase(erased=tuple(documents)):
            for document in erased:
                await secrets.erase(document)

        _, listed = await asyncio.gather(erase(), _all(secrets))

        assert listed.keys() <= {document.key for document in documents}
    assert await _all(secrets) == {}
