"""``cim-keys``: the command line. The only module of the console that reads the environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.console import actions, sagas
from services.console.arguments import read_arguments
from services.console.client import CommandRequest, Exit, Failure, display_address, send, store_command
from services.console.fields import WrongUsage, command_names, fields_of, model_of, value_fields
from services.console.formatting import Page, align, is_success, print_line
from services.console.settings import ConsoleSettings
from services.console.terminal import Terminal
from services.console.watch import WatchFilter, WatchFormatter, watch
from services.console.wire_message import WireMessage
from shared.process.settings import read_or_exit

_INTERRUPTED = 130


async def _send(terminal: Terminal, options: Namespace) -> int:
    is_start = options.command.startswith("saga.") and options.command.endswith(".start")
    request = CommandRequest(name=options.command, body=options.body, actor=terminal.actor, until_saga_ends=is_start)
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        if not options.no_wait:
            event = await send(client, request, options.timeout, problems)
            return terminal.outcome(event, options.output, good=is_success(event))
        try:
            async with asyncio.timeout(options.timeout):
                ack = await store_command(client, request, problems)
        except TimeoutError as error:
            problem = f"{request.name} was not stored within {options.timeout:g} s"
            raise Failure(Exit.NO_OUTCOME, problem) from error
    receipt = {"command_id": str(request.command_id), "aggregate_id": request.aggregate_id, "sequence": ack.seq}
    if options.output == "json":
        terminal.raw(json.dumps(receipt).encode())
    else:
        terminal.print([f"{request.name} is stored"])
        terminal.print(align([(f"  {name}", str(value)) for name, value in receipt.items()]))
    return Exit.DONE


async def _list_commands(terminal: Terminal, _: Namespace) -> int:
    terminal.print(align([(name, _field_names(name)) for name in command_names()]))
    return Exit.DONE


def _field_names(command: str) -> str:
    fields = value_fields(fields_of(model_of(command)))
    return " ".join(f"{field.path}{'*' if field.required else ''}" for field in fields)


async def _watch(terminal: Terminal, options: Namespace) -> int:
    """Shows messages until the saga ends, or until a signal arrives, which counts as success."""
    watching = asyncio.ensure_future(_watch_messages(terminal, options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()
    return Exit.DONE


async def _watch_messages(terminal: Terminal, options: Namespace) -> None:
    if options.correlation and not sagas.is_full_id(options.correlation):
        raise WrongUsage(f"--correlation takes the id that began the conversation, not {options.correlation[:64]!r}")
    async with terminal.connected(terminal.note) as client:
        js, formatter = client.jetstream(), WatchFormatter()
        saga = await _full_id(js, options.saga) if options.saga else None

        async def show(message: WireMessage) -> None:
            if options.json:
                shown = {"time": message.at.isoformat(), "subject": message.subject, "headers": message.headers}
                terminal.raw(json.dumps({**shown, "body": message.body}).encode())
            else:
                await formatter.look_up_steps(js, message)
                print_line(terminal.out, formatter.line(message))

        def on_ready() -> None:
            terminal.note(f"watching {display_address(terminal.url)}; Ctrl-C ends it")

        await watch(client, WatchFilter(saga, options.correlation, options.since_start), show, on_ready)


async def _use_sagas(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        js = client.jetstream()
        match options.verb:
            case "list":
                await _list_sagas(terminal, js, options)
            case "show":
                entry = await sagas.find_entry(js, options.id)
                announcements = await sagas.read_announcements(js, entry.view.saga_id)
                if options.json:
                    terminal.raw(json.dumps(entry.as_json(announcements)).encode())
                else:
                    terminal.print(sagas.detail_lines(entry, announcements))
            case "signal":
                saga_id = await _full_id(js, options.id)
                sha256 = options.sha256 or await sagas.digest_to_approve(js, saga_id)
                body = {"saga_id": saga_id, "signal": options.signal}
                body |= {"message_sha256": sha256} if sha256 else {}
                body |= {"comment": options.comment} if options.comment else {}
                request = CommandRequest(name="saga.signal", body=body, actor=terminal.actor)
                event = await send(client, request, options.timeout, problems)
                return terminal.outcome(event, options.output, good=is_success(event))
            case _:
                body = {"saga_id": await _full_id(js, options.id)}
                body |= {"reason": options.reason} if options.reason else {}
                request = CommandRequest(name="saga.cancel", body=body, actor=terminal.actor, until_saga_ends=True)
                event = await send(client, request, options.timeout, problems)
                return terminal.outcome(event, options.output, good=event.announcement == "compensated")
    return Exit.DONE


async def _list_sagas(terminal: Terminal, js: JetStreamContext, options: Namespace) -> None:
    entries = [
        entry
        for entry in await sagas.read_entries(js)
        if options.type in (None, entry.view.saga_type) and options.phase in (None, entry.view.phase)
    ]
    if options.json:
        terminal.raw(json.dumps([entry.row() for entry in entries]).encode())
    else:
        terminal.print(sagas.list_lines(entries))


async def _full_id(js: JetStreamContext, saga_id: str) -> str:
    """Completes a saga id: output shows its last characters only, and users type those."""
    return saga_id if sagas.is_full_id(saga_id) else (await sagas.find_entry(js, saga_id)).view.saga_id


_ACTIONS = {
    "send": _send,
    "commands": _list_commands,
    "watch": _watch,
    "sagas": _use_sagas,
    "devices": actions.use_device_secrets,
    "dead-letters": actions.use_dead_letters,
}


def run(arguments: Sequence[str], terminal: Terminal) -> int:
    """Runs one command. A failure is one line on stderr and an exit status."""
    try:
        options = read_arguments(arguments)
        return asyncio.run(_ACTIONS[options.action](terminal, options))
    except WrongUsage as error:
        terminal.note(str(error))
        return Exit.WRONG_USAGE
    except Failure as error:
        terminal.note(str(error))
        return error.status
    except APIError as error:
        terminal.note(f"the server rejected the request: {error.description} ({error.err_code})")
    except (NatsError, TimeoutError) as error:
        terminal.note(f"the server did not answer: {error or type(error).__name__}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second report at exit
        return Exit.DONE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return Exit.NO_CONNECTION


def main() -> None:
    settings = read_or_exit(ConsoleSettings, os.environ)
    sys.stdout.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr] # it is a TextIOWrapper
    terminal = Terminal(
        url=settings.nats.url,
        actor=settings.actor,
        out=Page(),
        notes=Page(stderr=True),
        access=settings.nats.access,
        role=settings.role,
    )
    sys.exit(run(sys.argv[1:], terminal))


if __name__ == "__main__":
    main()
