"""Actions of an operator on device secrets and dead letters."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from services.console import dead_letters, device_secrets
from services.console.client import CommandRequest, Exit, Failure, send
from services.console.formatting import is_success
from services.console.terminal import Terminal
from services.console.wire_message import WireMessage
from shared.contracts.yubikey.secrets import DeviceSecret
from shared.store.dead_letters import summary


async def use_device_secrets(terminal: Terminal, options: Namespace) -> int:
    """Runs `cim-keys devices`: reveal a secret, choose one, or answer a PIN prompt."""
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:

        async def send_command(command: str, body: dict[str, Any]) -> WireMessage:
            request = CommandRequest(name=command, body=body, actor=terminal.actor)
            return await send(client, request, options.timeout, problems)

        match options.verb:
            case "reveal":
                revealed = await device_secrets.reveal(send_command, options.serial, DeviceSecret(options.secret))
                if isinstance(revealed, str):
                    terminal.print([revealed])
                    return Exit.DONE
                outcome = revealed
            case "choose":
                text, secret = device_secrets.read_secret(options.secret.upper()), DeviceSecret(options.secret)
                outcome = await device_secrets.choose(send_command, options.serial, secret, text)
            case _:
                pin = device_secrets.read_secret("PIN")
                outcome = await device_secrets.answer_prompt(client.jetstream(), send_command, options.prompt, pin)
        return terminal.outcome(outcome, options.output, good=is_success(outcome))


async def use_dead_letters(terminal: Terminal, options: Namespace) -> int:
    """Runs `cim-keys dead-letters`: list, show, replay or drop."""
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        if options.verb == "list":
            found = await dead_letters.list_dead_letters(client)
            if options.json:
                terminal.raw(json.dumps([summary(dead_letter) for dead_letter in found]).encode())
            else:
                terminal.print(dead_letters.list_lines(found))
            return Exit.DONE
        dead_letter = await dead_letters.find(client, options.key)
        match options.verb:
            case "show":
                terminal.print(dead_letters.detail_lines(dead_letter, body=options.body))
            case "drop":
                await dead_letters.drop(client, dead_letter)
            case _:
                if (request := dead_letters.as_new_command(dead_letter, terminal.actor)) is not None:
                    event = await send(client, request, options.timeout, problems)
                    if is_success(event):
                        await dead_letters.drop(client, dead_letter)
                    return terminal.outcome(event, options.output, good=is_success(event))
                if (problem := await dead_letters.replay(client, dead_letter)) is not None:
                    raise Failure(Exit.NOT_DONE, f"it was not processed and stays a dead letter: {problem}")
    return Exit.DONE
