"""``python -m deploy.backup save|restore DIRECTORY``: every stream and bucket of streams.yaml, as snapshots.

A snapshot holds a stream as it stood at one moment, with its sequences and its consumers. Private keys are in it as
they are in KEYS_SECRETS: sealed. On as many servers as they were they are again, or on STREAM_REPLICAS of them.
docs/operations.md says when to stop what.
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

_BEFORE_THE_LOG_TELLS_OF_IT = ("KV_KEYS_SECRETS", "KV_KEYS_DEVICES")
_CHUNK = 128 * 1024
_SECONDS = 30.0


class BackupFailed(Exception):
    """The backup could not be made or restored; the message says why, and what to do."""


class Snapshot(BaseModel):
    """One stream in a backup: its name, what JetStream must be told to restore it, and the hash of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stream: str
    config: dict[str, Any]
    state: dict[str, Any]
    sha256: str


class Manifest(BaseModel):
    """Written last: a directory without one is no backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Literal[1] = 1
    snapshots: list[Snapshot]


def in_order() -> list[str]:
    """All streams; each copy may be of a later moment than the one before it.

    What must not be ahead of the log comes first (a snapshot of an aggregate, say), and what is written before the log
    tells of it comes last: no key is told of that the backup does not have.
    """
    last = (LOG, *_BEFORE_THE_LOG_TELLS_OF_IT)
    return [*sorted(set(stream_configs(catalog())) - set(last)), *last]


async def save(client: Client, directory: Path) -> Manifest:
    """Copy everything into *directory*, which must be new or empty."""
    await asyncio.to_thread(_make, directory)
    manifest = Manifest(snapshots=[await _save_stream(client, directory, stream) for stream in in_order()])
    draft = directory / "manifest.draft"
    with _private(draft) as file:
        file.write(manifest.model_dump_json(indent=1).encode())
    draft.rename(directory / "manifest.json")
    return manifest


async def restore(client: Client, directory: Path, replicas: int | None = None) -> Manifest:
    """Put back what *directory* holds, on a server that has none of it. Nothing is written before all is checked.

    *replicas*: on how many servers of a cluster, if not on as many as it was.
    """
    manifest = await asyncio.to_thread(_checked, directory)
    standing = [one.stream for one in manifest.snapshots if "error" not in await _api(client, f"INFO.{one.stream}", {})]
    if standing:
        raise BackupFailed(
            f"the server has {', '.join(standing)} already: stop the services and start the server on an empty store"
        )
    for snapshot in manifest.snapshots:
        await _restore_stream(client, directory, snapshot, {} if replicas is None else {"num_replicas": replicas})
    return manifest


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise BackupFailed(f"{directory} is not empty: save into a new directory")


async def _save_stream(client: Client, directory: Path, stream: str) -> Snapshot:
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox, pending_bytes_limit=-1, pending_msgs_limit=-1)
    digest = hashlib.sha256()
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "jsck": True, "chunk_size": _CHUNK}
        begun = await _require(client, f"SNAPSHOT.{stream}", request)
        with _private(_path(directory, stream)) as file:
            while data := await _chunk(await chunks.next_msg(timeout=_SECONDS), stream):
                file.write(data)
                digest.update(data)
    finally:
        await chunks.unsubscribe()
    return Snapshot(stream=stream, config=begun["config"], state=begun["state"], sha256=digest.hexdigest())


async def _chunk(message: Msg, stream: str) -> bytes:
    """What *message* brings of the snapshot; the last one brings nothing, or says what went wrong."""
    headers = message.headers or {}
    if not message.data and not headers.get("Status", "204").startswith("204"):
        raise BackupFailed(f"the snapshot of {stream} broke off: {headers.get('Description', 'no reason given')}")
    if message.reply:
        await message.respond(b"")
    return message.data


async def _restore_stream(client: Client, directory: Path, snapshot: Snapshot, otherwise: dict[str, int]) -> None:
    request = {"config": snapshot.config | otherwise, "state": snapshot.state}
    begun = await _require(client, f"RESTORE.{snapshot.stream}", request)
    subject = begun["deliver_subject"]
    with _path(directory, snapshot.stream).open("rb") as file:
        while data := file.read(_CHUNK):
            _accepted(snapshot.stream, await client.request(subject, data, timeout=_SECONDS))
    ended = _accepted(snapshot.stream, await client.request(subject, b"", timeout=_SECONDS))
    wanted, found = (state.get("messages") for state in (snapshot.state, ended.get("state", {})))
    if found != wanted:
        raise BackupFailed(f"{snapshot.stream} has {found} messages after the restore, and had {wanted}: try it again")


def _accepted(stream: str, answer: Msg) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(answer.data) if answer.data else {}
    if "error" in content:
        raise BackupFailed(f"{stream} cannot be restored: {content['error'].get('description')}")
    return content


def _checked(directory: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json((directory / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise BackupFailed(f"{directory} is no backup, or one that was not finished: it has no manifest.json") from None
    except ValidationError:
        raise BackupFailed(f"{directory / 'manifest.json'} is not readable") from None
    for snapshot in manifest.snapshots:
        path, digest = _path(directory, snapshot.stream), hashlib.sha256()
        if not path.is_file():
            raise BackupFailed(f"{path} is missing")
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        if digest.hexdigest() != snapshot.sha256:
            raise BackupFailed(f"{path} is not what was saved: its hash differs")
    return manifest


async def _require(client: Client, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    answer = await _api(client, subject, request)
    if "error" in answer:
        raise BackupFailed(f"{subject} was refused: {answer['error'].get('description')}")
    return answer


async def _api(client: Client, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    message = await client.request(f"$JS.API.STREAM.{subject}", json.dumps(request).encode(), timeout=_SECONDS)
    answer: dict[str, Any] = json.loads(message.data)
    return answer


def _path(directory: Path, stream: str) -> Path:
    return directory / f"{stream}.snapshot"


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner reads, on the disk when this ends."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


async def _main(verb: str, directory: Path, settings: DeclareSettings) -> None:
    async def quiet(_: Exception) -> None: ...

    client = await settings.nats.access.connect(
        settings.nats.url,
        BACKUP,
        name="cim-keys-backup",
        max_reconnect_attempts=1,
        reconnect_time_wait=0.2,
        error_cb=quiet,
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
        sys.exit(f"it did not {verb}: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    main()
