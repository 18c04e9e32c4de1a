"""``python -m deploy.backup save|restore DIRECTORY``: JetStream snapshots of every stream and bucket in streams.yaml.

A snapshot is consistent and includes sequences and consumers. Private keys stay encrypted, as in KEYS_SECRETS. Restored
streams have as many replicas as before, or STREAM_REPLICAS. docs/operations.md names the processes to stop first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.declare import DeclareSettings
from shared.errors import Unusable
from shared.messages.catalog import LOG, catalog
from shared.messages.permissions import BACKUP
from shared.nats.streams import require_server, stream_configs
from shared.process.settings import read_or_exit

_WRITTEN_BEFORE_EVENTS = ("KV_KEYS_SECRETS", "KV_KEYS_DEVICES")
_CHUNK_BYTES = 128 * 1024
_TIMEOUT_S = 30.0


class BackupFailed(Exception):
    """A failed backup or restore; the message names the reason and the remedy."""


class Snapshot(BaseModel):
    """One stream in a backup: what JetStream's restore request needs, and the hash of the snapshot file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stream: str
    config: dict[str, Any]
    state: dict[str, Any]
    sha256: str


class Manifest(BaseModel):
    """The table of contents. It is written last: a directory without one is an incomplete backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Literal[1] = 1
    snapshots: list[Snapshot]


def streams_in_order() -> list[str]:
    """Returns all streams in the order of their snapshots, each of which is later than the one before.

    Streams that must not be ahead of the log come first, snapshots of aggregates for example. Buckets written before
    their events come last: the backup has every key that its log mentions.
    """
    last = (LOG, *_WRITTEN_BEFORE_EVENTS)
    return [*sorted(set(stream_configs(catalog())) - set(last)), *last]


async def save(client: Client, directory: Path) -> Manifest:
    """Saves all streams into *directory*, which must be new or empty."""
    await asyncio.to_thread(_create, directory)
    manifest = Manifest(snapshots=[await _save_stream(client, directory, stream) for stream in streams_in_order()])
    draft = directory / "manifest.draft"
    with _private(draft) as file:
        file.write(manifest.model_dump_json(indent=1).encode())
    draft.rename(directory / "manifest.json")
    return manifest


async def restore(client: Client, directory: Path, replicas: int | None = None) -> Manifest:
    """Restores the backup in *directory* to a server that has none of its streams, after checking every hash.

    *replicas*: the number of replicas, if not the saved one.
    """
    manifest = await asyncio.to_thread(_load_manifest, directory)
    existing = [one.stream for one in manifest.snapshots if "error" not in await _api(client, f"INFO.{one.stream}", {})]
    if existing:
        raise BackupFailed(
            f"the server has {', '.join(existing)} already: stop the services and start the server on an empty store"
        )
    for snapshot in manifest.snapshots:
        await _restore_stream(client, directory, snapshot, {} if replicas is None else {"num_replicas": replicas})
    return manifest


def _create(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise BackupFailed(f"{directory} is not empty: save into a new directory")


async def _save_stream(client: Client, directory: Path, stream: str) -> Snapshot:
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox, pending_bytes_limit=-1, pending_msgs_limit=-1)
    digest = hashlib.sha256()
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "jsck": True, "chunk_size": _CHUNK_BYTES}
        response = await _require(client, f"SNAPSHOT.{stream}", request)
        with _private(_path(directory, stream)) as file:
            while data := await _receive_chunk(await chunks.next_msg(timeout=_TIMEOUT_S), stream):
                file.write(data)
                digest.update(data)
    finally:
        await chunks.unsubscribe()
    return Snapshot(stream=stream, config=response["config"], state=response["state"], sha256=digest.hexdigest())


async def _receive_chunk(message: Msg, stream: str) -> bytes:
    """Acknowledges a chunk and returns its bytes; empty at the end. Raises BackupFailed on a status other than 204."""
    headers = message.headers or {}
    if not message.data and not headers.get("Status", "204").startswith("204"):
        raise BackupFailed(f"the snapshot of {stream} is incomplete: {headers.get('Description', 'no reason given')}")
    if message.reply:
        await message.respond(b"")
    return message.data


async def _restore_stream(client: Client, directory: Path, snapshot: Snapshot, overrides: dict[str, int]) -> None:
    request = {"config": snapshot.config | overrides, "state": snapshot.state}
    response = await _require(client, f"RESTORE.{snapshot.stream}", request)
    subject = response["deliver_subject"]
    with _path(directory, snapshot.stream).open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            _require_restored(snapshot.stream, await client.request(subject, data, timeout=_TIMEOUT_S))
    result = _require_restored(snapshot.stream, await client.request(subject, b"", timeout=_TIMEOUT_S))
    expected, found = (state.get("messages") for state in (snapshot.state, result.get("state", {})))
    if found != expected:
        raise BackupFailed(
            f"{snapshot.stream} has {found} messages instead of {expected}: restore again on an empty store"
        )


def _require_restored(stream: str, response: Msg) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(response.data) if response.data else {}
    if "error" in content:
        raise BackupFailed(f"{stream} cannot be restored: {content['error'].get('description')}")
    return content


def _load_manifest(directory: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json((directory / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise BackupFailed(f"{directory} is not a complete backup: it has no manifest.json") from None
    except ValidationError:
        raise BackupFailed(f"{directory / 'manifest.json'} is not a manifest of a backup") from None
    for snapshot in manifest.snapshots:
        path, digest = _path(directory, snapshot.stream), hashlib.sha256()
        if not path.is_file():
            raise BackupFailed(f"{path} is missing")
        with path.open("rb") as file:
            while data := file.read(_CHUNK_BYTES):
                digest.update(data)
        if digest.hexdigest() != snapshot.sha256:
            raise BackupFailed(f"{path} is damaged: its SHA-256 hash differs from the manifest")
    return manifest


async def _require(client: Client, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    response = await _api(client, subject, request)
    if "error" in response:
        raise BackupFailed(f"the server rejected {subject}: {response['error'].get('description')}")
    return response


async def _api(client: Client, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    message = await client.request(f"$JS.API.STREAM.{subject}", json.dumps(request).encode(), timeout=_TIMEOUT_S)
    response: dict[str, Any] = json.loads(message.data)
    return response


def _path(directory: Path, stream: str) -> Path:
    return directory / f"{stream}.snapshot"


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner can read, synced to disk at the end."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


async def _main(verb: str, directory: Path, settings: DeclareSettings) -> None:
    async def ignore(_: Exception) -> None: ...

    client = await settings.nats.access.connect(
        settings.nats.url,
        BACKUP,
        name="cim-keys-backup",
        max_reconnect_attempts=1,
        reconnect_time_wait=0.2,
        error_cb=ignore,
    )
    try:
        require_server(client)
        if verb == "save":
            manifest = await save(client, directory)
        else:
            manifest = await restore(client, directory, settings.replicas)
    finally:
        await client.close()
    messages = sum(one.state.get("messages", 0) for one in manifest.snapshots)
    print(f"{verb}d {len(manifest.snapshots)} streams with {messages} messages: {directory}")


def main() -> None:
    match sys.argv[1:]:
        case [("save" | "restore") as verb, directory]:
            pass
        case _:
            sys.exit("usage: python -m deploy.backup save|restore DIRECTORY")
    settings = read_or_exit(DeclareSettings, os.environ)
    try:
        asyncio.run(_main(verb, Path(directory), settings))
    except (BackupFailed, Unusable) as error:
        sys.exit(str(error))
    except (Error, OSError, TimeoutError) as error:
        sys.exit(f"the {verb} failed: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    main()
