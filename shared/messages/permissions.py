"""NATS permissions of each role, computed from subjects.yaml and streams.yaml.

The server rejects every other subject. Subjects of the JetStream API are included, so a role reaches only its own
streams, consumers and buckets. docs/security.md lists what a server cannot distinguish.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages.catalog import EVENTS, LOG, Catalog
from shared.messages.subjects import Subject

PROVISIONER, BACKUP, REPOSITORY = "provisioner", "backup", "repository"
_DEAD_LETTERS = "KEYS_DEAD_LETTERS"
_API = "$JS.API"
_EVERY_EVENT = EVENTS + Subject((">",))

_SAGAS_WITHOUT_A_LINE = {"operator": {"keys.commands.saga.*.start"}, "saga": {"keys.events.saga.*.completed.*"}}
"""Sagas of users, without a line in subjects.yaml (docs/adr/0022): the publishers of other sagas may publish these."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Allowed patterns, without the *withheld* ones among them; everything else is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    withheld: tuple[str, ...] = ()


def roles(catalog: Catalog) -> tuple[str, ...]:
    """Returns all roles: those of subjects.yaml, and provisioner, backup and repository."""
    named = {role for route in catalog.routes.values() for role in route.publishers | route.readers}
    return (*sorted(named), BACKUP, PROVISIONER, REPOSITORY)


def permissions_of(role: str, catalog: Catalog) -> Permissions:
    """Computes the permissions of *role*. Raises KeyError for an unknown role."""
    if role not in roles(catalog):
        raise KeyError(role)
    publish, subscribe = set[str](), {f"_INBOX.{role}.>"}
    match role:
        case "provisioner":
            publish |= _declaration_subjects(catalog)
        case "backup":
            publish |= _backup_subjects(catalog)
        case _:
            publish |= (
                _message_subjects(role, catalog) | _stream_subjects(role, catalog) | _bucket_subjects(role, catalog)
            )
            subscribe |= _subscription_subjects(role, catalog)
            if role in catalog.services:
                publish |= _consumer_subjects(role, catalog)
                subscribe |= {f"$KEYS.{durable}.hand-back" for durable in catalog.consumers_of(role)}
            if role == "yubikey":  # its processes forward commands to the holder of the lease (docs/adr/0019)
                publish |= {"$KEYS.yubikey.*.handle", "_INBOX.yubikey.>"}
                subscribe |= {"$KEYS.yubikey.*.handle"}
    withheld = _durable_names(catalog) if publish & _read_subjects(LOG) else set()
    return Permissions(tuple(sorted(publish)), tuple(sorted(subscribe)), tuple(sorted(withheld)))


def _message_subjects(role: str, catalog: Catalog) -> set[str]:
    lines = {text for text, route in catalog.routes.items() if role in route.publishers}
    return lines | _SAGAS_WITHOUT_A_LINE.get(role, set())


def _subscription_subjects(role: str, catalog: Catalog) -> set[str]:
    """Patterns that a person may subscribe to; services read by their durable consumers only.

    A role that may read every event gets one pattern for all.
    """
    if role in catalog.services:
        return set()
    lines = {text for text, route in catalog.routes.items() if role in route.readers}
    events = _events(catalog)
    return (lines - events) | {str(_EVERY_EVENT)} if events <= lines else lines


def _events(catalog: Catalog) -> set[str]:
    return {text for text in catalog.routes if _EVERY_EVENT.covers(Subject.parse(text))}


def _consumer_subjects(service: str, catalog: Catalog) -> set[str]:
    """Pull requests and acks of the service's durable consumers, and replies to operators who retry a dead letter."""
    allowed = {"_INBOX.operator.>"}
    for durable in catalog.consumers_of(service):
        stream = catalog.consumers[durable].stream
        allowed |= {f"{_API}.CONSUMER.{verb}.{stream}.{durable}" for verb in ("INFO", "MSG.NEXT")}
        allowed.add(f"$JS.ACK.{stream}.{durable}.>")
    return allowed


def _stream_subjects(role: str, catalog: Catalog) -> set[str]:
    allowed = set[str]()
    if role in catalog.services:
        allowed |= {f"{_API}.STREAM.INFO.{stream}" for stream in catalog.streams_of(role)}
    if any(role in catalog.routes[text].publishers | catalog.routes[text].readers for text in _events(catalog)):
        allowed |= _read_subjects(LOG)
    for name, stream in catalog.streams.items():
        if role in stream.writers:
            allowed |= set(stream.subjects)
        if role in stream.looked_up_by:
            allowed |= _direct_get_subjects(name)
    return allowed


def _bucket_subjects(role: str, catalog: Catalog) -> set[str]:
    allowed = set[str]()
    for name, bucket in catalog.buckets.items():
        stream = f"KV_{name}"
        if role in bucket.writers:
            allowed |= {f"$KV.{name}.{keys}" for keys in _keys(role, bucket.keys_of, catalog)}
        if role in bucket.writers or role in bucket.readers:
            allowed |= _read_subjects(stream)
        if role in bucket.looked_up_by:
            allowed |= _direct_get_subjects(stream)
        if role in bucket.erasers:
            allowed.add(f"{_API}.STREAM.MSG.DELETE.{stream}")
        if name == _DEAD_LETTERS and role in bucket.readers:
            allowed |= {f"$KEYS.{durable}.hand-back" for durable in catalog.consumers}
    return allowed


def _keys(role: str, of: str | None, catalog: Catalog) -> set[str]:
    match of:
        case "aggregates":
            return {f"{aggregate}.>" for aggregate in catalog.aggregates_of(role)}
        case "consumers":
            return {f"{catalog.consumers[durable].stream}.{durable}.*" for durable in catalog.consumers_of(role)}
        case _:
            return {">"}


def _read_subjects(stream: str) -> set[str]:
    """Reads of single messages, and ordered consumers, which are ephemeral and have random names."""
    return {
        f"{_API}.STREAM.MSG.GET.{stream}",
        f"{_API}.CONSUMER.CREATE.{stream}.*",
        f"{_API}.CONSUMER.CREATE.{stream}.*.>",
        f"{_API}.CONSUMER.INFO.{stream}.*",
        f"$JS.FC.{stream}.>",
    }


def _durable_names(catalog: Catalog) -> set[str]:
    """Names of the log's durable consumers, withheld because creating a consumer can also update one."""
    durables = [durable for durable, consumer in catalog.consumers.items() if consumer.stream == LOG]
    return {f"{_API}.CONSUMER.CREATE.{LOG}.{durable}{rest}" for durable in durables for rest in ("", ".>")}


def _direct_get_subjects(stream: str) -> set[str]:
    return {f"{_API}.DIRECT.GET.{stream}", f"{_API}.DIRECT.GET.{stream}.>"}


def _declaration_subjects(catalog: Catalog) -> set[str]:
    """Creation and update of what streams.yaml names, and the reset of the views."""
    allowed = {
        f"{_API}.STREAM.{verb}.{stream}" for stream in _all_streams(catalog) for verb in ("INFO", "CREATE", "UPDATE")
    }
    for durable, consumer in catalog.consumers.items():
        path = f"{consumer.stream}.{durable}"
        allowed |= {f"{_API}.CONSUMER.{verb}.{path}" for verb in ("INFO", "CREATE", "DURABLE.CREATE")}
        allowed.add(f"{_API}.CONSUMER.CREATE.{path}.>")
    return allowed | {f"{_API}.CONSUMER.DELETE.{LOG}.views", f"{_API}.STREAM.PURGE.KV_KEYS_VIEWS"}


def _backup_subjects(catalog: Catalog) -> set[str]:
    allowed = {
        f"{_API}.STREAM.{verb}.{stream}" for stream in _all_streams(catalog) for verb in ("INFO", "SNAPSHOT", "RESTORE")
    }
    return allowed | {
        f"$JS.SNAPSHOT.{verb}.{stream}.>" for stream in _all_streams(catalog) for verb in ("ACK", "RESTORE")
    }


def _all_streams(catalog: Catalog) -> list[str]:
    return [*catalog.streams, *(f"KV_{name}" for name in catalog.buckets)]
