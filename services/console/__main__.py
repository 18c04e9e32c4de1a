"""``cim-keys``: the console's entry point, which runs the action that the arguments name."""

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

from services.console import operations, sagas
from services.console.arguments import read_arguments
from services.console.client import Ask, Exit, Failure, places, post, send
from services.console.fields import WrongUsage, command_names, fields_of, leaves, model_of
from services.console.formatting import Page, columns, say, succeeded
from services.console.settings import ConsoleSettings
from services.console.terminal import Terminal
from services.console.watch import Lines, Wanted, watch
from services.console.wire_message import Heard
from shared.process.settings import read_or_exit

_INTERRUPTED = 130


async def _send(terminal: Terminal, options: Namespace) -> int:
    is_start = options.command.startswith("saga.") and options.command.endswith(".start")
    ask = Ask(options.command, options.body, terminal.actor, to_the_end=is_start)
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        if not options.no_wait:
            event = await send(client, ask, options.timeout, problems)
            return terminal.outcome(event, options.output, good=succeeded(event))
        try:
            async with asyncio.timeout(options.timeout):
                stored = await post(client, ask, problems)
        except TimeoutError as error:
            raise Failure(Exit.NO_OUTCOME, f"{ask.name} was not stored within {options.timeout:g} s") from error
    receipt = {"command_id": str(ask.command_id), "aggregate_id": ask.aggregate_id, "sequence": stored.seq}
    if options.output == "json":
        terminal.raw(json.dumps(receipt).encode())
    else:
        terminal.print([f"{ask.name} is stored"])
        terminal.print(columns([(f"  {name}", str(value)) for name, value in receipt.items()]))
    return Exit.DONE


async def _commands(terminal: Terminal, _: Namespace) -> int:
    terminal.print(
        columns(
            [
                (name, " ".join(f"{f.path}{'*' if f.required else ''}" for f in leaves(fields_of(model_of(name)))))
                for name in command_names()
            ]
        )
    )
    return Exit.DONE


async def _watch(terminal: Terminal, options: Namespace) -> int:
    """Watches until its saga is finished or a signal arrives; neither is a failure."""
    watching = asyncio.ensure_future(_watching(terminal, options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()
    return Exit.DONE


async def _watching(terminal: Terminal, options: Namespace) -> None:
    if options.correlation and not sagas.is_id(options.correlation):
        raise WrongUsage(f"--correlation takes the id that began the conversation, not {options.correlation[:64]!r}")
    async with terminal.connected(terminal.note) as client:
        js, lines = client.jetstream(), Lines()
        saga = await _full_id(js, options.saga) if options.saga else None

        async def show(heard: Heard) -> None:
            if options.json:
                told = {"time": heard.at.isoformat(), "subject": heard.subject, "headers": heard.headers}
                terminal.raw(json.dumps({**told, "body": heard.body}).encode())
            else:
                await lines.know_steps(js, heard)
                say(terminal.out, lines.line(heard))

        def ready() -> None:
            terminal.note(f"watching {places(terminal.url)}; Ctrl-C ends it")

        await watch(client, Wanted(saga, options.correlation, options.since_start), show, ready)


async def _sagas(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        js = client.jetstream()
        match options.look:
            case "list":
                found = [
                    entry
                    for entry in await sagas.entries(js)
                    if options.type in (None, entry.saga_type) and options.phase in (None, entry.phase)
                ]
                if options.json:
                    terminal.raw(json.dumps([entry.row() for entry in found]).encode())
                else:
                    terminal.print(sagas.listed(found))
            case "show":
                entry = await sagas.find(js, options.id)
                told = await sagas.timeline(js, entry.saga_id)
                if options.json:
                    terminal.raw(json.dumps(entry.at_length(told)).encode())
                else:
                    terminal.print(sagas.told_at_length(entry, told))
            case "signal":
                saga_id = await _full_id(js, options.id)
                sha256 = options.sha256 or await sagas.awaited(js, saga_id)
                body = {"saga_id": saga_id, "signal": options.signal}
                body |= {"message_sha256": sha256} if sha256 else {}
                body |= {"comment": options.comment} if options.comment else {}
                event = await send(client, Ask("saga.signal", body, terminal.actor), options.timeout, problems)
                return terminal.outcome(event, options.output, good=succeeded(event))
            case _:
                body = {"saga_id": await _full_id(js, options.id)}
                body |= {"reason": options.reason} if options.reason else {}
                ask = Ask("saga.cancel", body, terminal.actor, to_the_end=True)
                event = await send(client, ask, options.timeout, problems)
                return terminal.outcome(event, options.output, good=event.announcement == "compensated")
    return Exit.DONE


async def _full_id(js: JetStreamContext, saga_id: str) -> str:
    """Completes an id of which only the end is given, as the lines of `watch` show it."""
    return saga_id if sagas.is_id(saga_id) else (await sagas.find(js, saga_id)).saga_id


_ACTIONS = {
    "send": _send,
    "commands": _commands,
    "watch": _watch,
    "sagas": _sagas,
    "devices": operations.of_devices,
    "dead-letters": operations.of_dead_letters,
}


def run(arguments: Sequence[str], terminal: Terminal) -> int:
    """Runs one action; reports any failure in one line on stderr and by the exit status."""
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
        terminal.note(f"the server answered: {error.description} ({error.err_code})")
    except (NatsError, TimeoutError) as error:
        terminal.note(f"the server did not answer: {error or type(error).__name__}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its exit
        return Exit.DONE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return Exit.NO_CONNECTION


def main() -> None:
    settings = read_or_exit(ConsoleSettings, os.environ)
    sys.stdout.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr] # it is a TextIOWrapper
    terminal = Terminal(
        settings.nats.url,
        settings.actor,
        Page(),
        Page(stderr=True),
        settings.nats.access,
        settings.role,
    )
    sys.exit(run(sys.argv[1:], terminal))


if __name__ == "__main__":
    main()
