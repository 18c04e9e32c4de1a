"""Command line arguments. The flags of `send` are the fields of the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from services.console.fields import (
    Field,
    WrongUsage,
    build,
    fields_of,
    model_of,
    normalize_flags,
    read_object,
    unknown_flag,
    value_fields,
)
from shared import __version__

PHASES = ("running", "compensating", "completed", "compensated", "failed")
_DEFAULT_TIMEOUT_S = 60.0
_FIELD = "field:"


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line and accepts no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(f"{message}; {self.prog} --help says more")


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments: `action`, its options, and the `body` of `send`. Raises WrongUsage."""
    options = _grammar().parse_args(arguments)
    if options.action == "send":
        options.command = options.command.removeprefix("keys.commands.")
        _read_command(options)
    return options


def _grammar() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cim-keys",
        description="Send commands to CIM Keys. NATS_URL is the server.",
    )
    parser.add_argument("--version", action="version", version=f"cim-keys {__version__}")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    sending = actions.add_parser(
        "send",
        help="publish a command and wait for its outcome",
        usage="cim-keys send COMMAND [--FIELD VALUE …] [options]",
        epilog="cim-keys commands lists the commands; cim-keys send COMMAND --help the fields of one. "
        "Exit status: 0 done, 1 rejected, compensated or failed, 2 wrong usage, 3 no outcome, 4 no connection.",
    )
    _add_send_options(sending)
    sending.add_argument("command", metavar="COMMAND", help="such as key.generate or saga.pki-bootstrap.start")
    sending.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    actions.add_parser("commands", help="list the commands and their fields")

    watching = actions.add_parser("watch", help="show commands and events as they happen")
    watching.add_argument("--saga", metavar="ID", help="only this saga; ends when the saga ends")
    watching.add_argument("--correlation", metavar="ID", help="only this conversation")
    watching.add_argument("--since-start", action="store_true", help="begin with the stored events")
    watching.add_argument("--json", action="store_true", help="an object a line: time, subject, headers, body")

    looking = actions.add_parser("sagas", help="list, show, cancel or signal sagas")
    _add_saga_actions(looking.add_subparsers(dest="verb", required=True, metavar="list|show|cancel|signal"))

    devices = actions.add_parser("devices", help="secrets of a device: reveal, choose, or answer a prompt")
    _add_device_actions(devices.add_subparsers(dest="verb", required=True, metavar="reveal|choose|answer"))

    dead_letters = actions.add_parser(
        "dead-letters", help="messages that could not be processed: list, show, replay, drop"
    )
    _add_dead_letter_actions(dead_letters.add_subparsers(dest="verb", required=True, metavar="list|show|replay|drop"))
    return parser


def _add_dead_letter_actions(verbs: Any) -> None:
    listing = verbs.add_parser("list", help="all dead letters, oldest first, with the reason")
    listing.add_argument("--json", action="store_true")
    showing = verbs.add_parser("show", help="one dead letter, with its headers")
    showing.add_argument("--body", action="store_true", help="also its body, which may contain a secret")
    replaying = verbs.add_parser("replay", help="process it again, after the cause is removed")
    dropping = verbs.add_parser("drop", help="delete it")
    for parser in (showing, replaying, dropping):
        parser.add_argument("key", metavar="KEY", help="the first column of the list")
    _add_wait_options(replaying)
    replaying.set_defaults(timeout=_DEFAULT_TIMEOUT_S, output="text")


def _add_device_actions(verbs: Any) -> None:
    revealing = verbs.add_parser("reveal", help="show the stored PIN, PUK or management key of a device")
    revealing.add_argument("serial", metavar="SERIAL")
    revealing.add_argument("secret", choices=("pin", "puk", "management-key"))
    choosing = verbs.add_parser("choose", help="set the PIN or PUK, typed or from a pipe")
    choosing.add_argument("serial", metavar="SERIAL")
    choosing.add_argument("secret", choices=("pin", "puk"))
    answering = verbs.add_parser("answer", help="enter the PIN for a prompt (cim-keys watch shows prompts)")
    answering.add_argument("prompt", metavar="PROMPT")
    for parser in (revealing, choosing, answering):
        _add_wait_options(parser)
        parser.set_defaults(timeout=_DEFAULT_TIMEOUT_S, output="text")


def _add_saga_actions(verbs: Any) -> None:
    listing = verbs.add_parser("list", help="all sagas, oldest first")
    listing.add_argument("--type", metavar="TYPE", help="only sagas of this type, such as pki-bootstrap")
    listing.add_argument("--phase", choices=PHASES, help="only sagas in this phase")
    showing = verbs.add_parser("show", help="one saga: its request, timeline, and remaining steps")
    for parser in (listing, showing):
        parser.add_argument("--json", action="store_true")
    cancelling = verbs.add_parser("cancel", help="cancel a running saga, and wait until it is rolled back")
    cancelling.add_argument("--reason", metavar="TEXT")
    signalling = verbs.add_parser("signal", help="send a signal to a waiting saga, such as your approval")
    signalling.add_argument("--sha256", metavar="HEX", help="hash of what you approve; default: as named by the saga")
    signalling.add_argument("--comment", metavar="TEXT")
    for parser in (cancelling, signalling):
        _add_wait_options(parser)
        parser.set_defaults(timeout=_DEFAULT_TIMEOUT_S, output="text")
    for parser in (showing, cancelling, signalling):
        parser.add_argument("id", metavar="ID", help="the id of the saga, or the end of it")
    signalling.add_argument("signal", metavar="SIGNAL", help="such as approve")


def _add_send_options(parser: argparse.ArgumentParser) -> None:
    bodies = parser.add_mutually_exclusive_group()
    bodies.add_argument("--json", metavar="JSON", default=argparse.SUPPRESS, help="the body; flags override its fields")
    bodies.add_argument("--file", metavar="PATH", default=argparse.SUPPRESS, help="the same from a file; - is stdin")
    parser.add_argument("--no-wait", action="store_true", default=argparse.SUPPRESS, help="do not wait for the outcome")
    _add_wait_options(parser)


def _add_wait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", default=argparse.SUPPRESS, help=f"default {_DEFAULT_TIMEOUT_S:g}"
    )
    parser.add_argument("--output", choices=("text", "json"), default=argparse.SUPPRESS)


def _read_command(options: argparse.Namespace) -> None:
    name, model = options.command, model_of(options.command)
    fields = fields_of(model)
    parser = _Parser(
        prog=f"cim-keys send {name}",
        usage=f"cim-keys send {name} [--FIELD VALUE …] [options]",
        description=model.__doc__ if "__doc__" in vars(model) else None,
    )
    _add_fields(parser, model.__name__, fields)
    _add_send_options(parser)
    parser.set_defaults(json=None, file=None, no_wait=False, timeout=_DEFAULT_TIMEOUT_S, output="text")
    _, unrecognized = parser.parse_known_args(normalize_flags(options.rest, fields), options)
    if unrecognized:
        flag = next((token for token in unrecognized if token.startswith("--")), None)
        if flag is None:
            raise WrongUsage(f"{unrecognized[0][:64]!r} has no flag before it: type every field as --FIELD VALUE")
        raise unknown_flag(name, flag.partition("=")[0], fields)
    values = {
        key.removeprefix(_FIELD): texts for key, texts in vars(options).items() if key.startswith(_FIELD) and texts
    }
    options.body = build(fields, values, _base(options))


def _add_fields(parser: argparse.ArgumentParser, title: str, fields: Sequence[Field]) -> None:
    group = parser.add_argument_group(f"fields of {title} (* required)")
    shown = value_fields(fields)
    for field in fields:
        star = "* " if field.required else ""
        group.add_argument(
            f"--{field.path}",
            dest=f"{_FIELD}{field.path}",
            action="append",
            nargs="?" if field.kind == "boolean" else None,
            const="true" if field.kind == "boolean" else None,
            metavar=field.type_name,
            help=f"{star}{field.description}".replace("%", "%%") if field in shown else argparse.SUPPRESS,
        )


def _base(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.json is not None:
        return read_object(options.json, "--json")
    if options.file is None:
        return None
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"--file {options.file}: {getattr(error, 'strerror', None) or error}") from error
    return read_object(text, f"--file {options.file}")


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value
