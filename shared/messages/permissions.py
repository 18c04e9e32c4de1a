"""What each role may publish and hear, subject by subject: subjects.yaml and streams.yaml in NATS's words.

Whatever is not named is refused. The subjects of the JetStream API are part of it, so that a role's streams,
consumers and buckets are its own. What a server cannot tell apart is in docs/security.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages.catalog import EVENTS, LOG, Catalog
from shared.messages.subjects import Subject

PROVISIONER, BACKUP, REPOSITORY = "provisioner", "backup", "repository"
_LETTERS = "KEYS_DEAD_LETTERS"
_API = "$JS.API"
_EVERY_EVENT = EVENTS + Subject((">",))

_OF_SAGAS_WITHOUT_A_LINE = {"operator": {"keys.commands.saga.*.start"}, "saga": {"keys.events.saga.*.completed.*"}}
"""A saga of one's own has none (docs/adr/0022): who says others' starts and ends says its, too."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Allowed patterns; nothing else is allowed, and of these not what is *withheld*."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    withheld: tuple[str, ...] = ()


def roles(catalog: Catalog) -> tuple[str, ...]:
    """All who come to the server: who the lines name, and who declares, saves and serves what is there."""
    named = {role for route in catalog.routes.values() for role in route.publishers | route.readers}
    return (*sorted(named), BACKUP, PROVISIONER, REPOSITORY)


def permissions_of(role: str, catalog: Catalog) -> Permissions:
    """Raises KeyError for a role that there is not."""
    if role not in roles(catalog):
        raise KeyError(role)
    publish, subscribe = set[str](), {f"_INBOX.{role}.>"}
    match role:
        case "provisioner":
            publish |= _declaring(catalog)
        case "backup":
            publish |= _saving(catalog)
        case _:
            publish |= _speaking(role, catalog) | _using_streams(role, catalog) | _using_buckets(role, catalog)
            subscribe |= _hearing(role, catalog)
            if role in catalog.services:
                publish |= _consuming(role, catalog)
                subscribe |= {f"$KEYS.{durable}.hand-back" for durable in catalog.consumers_of(role)}
            if role == "yubikey":  # its processes pass work on to the one that has the device (docs/adr/0019)
                publish |= {"$KEYS.yubikey.*.handle", "_INBOX.yubikey.>"}
                subscribe |= {"$KEYS.yubikey.*.handle"}
    withheld = _others_names(catalog) if publish & _reading(LOG) else set()
    return Permissions(tuple(sorted(publish)), tuple(sorted(subscribe)), tuple(sorted(withheld)))


def _speaking(role: str, catalog: Catalog) -> set[str]:
    lines = {text for text, route in catalog.routes.items() if role in route.publishers}
    return lines | _OF_SAGAS_WITHOUT_A_LINE.get(role, set())


def _hearing(role: str, catalog: Catalog) -> set[str]:
    """Services hear by their durable consumers only; people subscribe. Who may read every event may take them all."""
    if role in catalog.services:
        return set()
    lines = {text for text, route in catalog.routes.items() if role in route.readers}
    events = _events(catalog)
    return (lines - events) | {str(_EVERY_EVENT)} if events <= lines else lines


def _events(catalog: Catalog) -> set[str]:
    return {text for text in catalog.routes if _EVERY_EVENT.covers(Subject.parse(text))}


def _consuming(service: str, catalog: Catalog) -> set[str]:
    """Its durable consumers: asked for messages, acknowledged, and operators answered who hand a letter back."""
    allowed = {"_INBOX.operator.>"}
    for durable in catalog.consumers_of(service):
        stream = catalog.consumers[durable].stream
        allowed |= {f"{_API}.CONSUMER.{verb}.{stream}.{durable}" for verb in ("INFO", "MSG.NEXT")}
        allowed.add(f"$JS.ACK.{stream}.{durable}.>")
    return allowed


def _using_streams(role: str, catalog: Catalog) -> set[str]:
    allowed = set[str]()
    if role in catalog.services:
        allowed |= {f"{_API}.STREAM.INFO.{stream}" for stream in catalog.streams_of(role)}
    if any(role in catalog.routes[text].publishers | catalog.routes[text].readers for text in _events(catalog)):
        allowed |= _reading(LOG)
    for name, stream in catalog.streams.items():
        if role in stream.writers:
            allowed |= set(stream.subjects)
        if role in stream.looked_up_by:
            allowed |= _looking_up(name)
    return allowed


def _using_buckets(role: str, catalog: Catalog) -> set[str]:
    allowed = set[str]()
    for name, bucket in catalog.buckets.items():
        stream = f"KV_{name}"
        if role in bucket.writers:
            allowed |= {f"$KV.{name}.{keys}" for keys in _keys(role, bucket.keys_of, catalog)}
        if role in bucket.writers or role in bucket.readers:
            allowed |= _reading(stream)
        if role in bucket.looked_up_by:
            allowed |= _looking_up(stream)
        if role in bucket.erasers:
            allowed.add(f"{_API}.STREAM.MSG.DELETE.{stream}")
        if name == _LETTERS and role in bucket.readers:
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


def _reading(stream: str) -> set[str]:
    """Single messages, and ordered consumers, which are ephemeral and have random names."""
    return {
        f"{_API}.STREAM.MSG.GET.{stream}",
        f"{_API}.CONSUMER.CREATE.{stream}.*",
        f"{_API}.CONSUMER.CREATE.{stream}.*.>",
        f"{_API}.CONSUMER.INFO.{stream}.*",
        f"$JS.FC.{stream}.>",
    }


def _others_names(catalog: Catalog) -> set[str]:
    """Whoever may create consumers of the log could else change the durable ones: to create is also to update."""
    durables = [durable for durable, consumer in catalog.consumers.items() if consumer.stream == LOG]
    return {f"{_API}.CONSUMER.CREATE.{LOG}.{durable}{rest}" for durable in durables for rest in ("", ".>")}


def _looking_up(stream: str) -> set[str]:
    return {f"{_API}.DIRECT.GET.{stream}", f"{_API}.DIRECT.GET.{stream}.>"}


def _declaring(catalog: Catalog) -> set[str]:
    """To create and change what streams.yaml names, nothing else; to have the views told again."""
    allowed = {f"{_API}.STREAM.{verb}.{stream}" for stream in _all(catalog) for verb in ("INFO", "CREATE", "UPDATE")}
    for durable, consumer in catalog.consumers.items():
        place = f"{consumer.stream}.{durable}"
        allowed |= {f"{_API}.CONSUMER.{verb}.{place}" for verb in ("INFO", "CREATE", "DURABLE.CREATE")}
        allowed.add(f"{_API}.CONSUMER.CREATE.{place}.>")
    return allowed | {f"{_API}.CONSUMER.DELETE.{LOG}.views", f"{_API}.STREAM.PURGE.KV_KEYS_VIEWS"}


def _saving(catalog: Catalog) -> set[str]:
    allowed = {f"{_API}.STREAM.{verb}.{stream}" for stream in _all(catalog) for verb in ("INFO", "SNAPSHOT", "RESTORE")}
    return allowed | {f"$JS.SNAPSHOT.{verb}.{stream}.>" for stream in _all(catalog) for verb in ("ACK", "RESTORE")}


def _all(catalog: Catalog) -> list[str]:
    return [*catalog.streams, *(f"KV_{name}" for name in catalog.buckets)]
