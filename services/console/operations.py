"""What an operator does beside sending commands: secrets of devices, and dead letters."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from services.console import dead_letters, device_secrets
from services.console.client import Ask, Exit, Failure, send
from services.console.formatting import succeeded
from services.console.terminal import Terminal
from services.console.wire_message import Heard
from shared.contracts.yubikey.secrets import DeviceSecret
from shared.store.dead_letters import summary as line_of


async def of_devices(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:

        async def ask(command: str, body: dict[str, Any]) -> Heard:
            return await send(client, Ask(command, body, terminal.actor), options.timeout, problems)

        match options.do:
            case "reveal":
                told = await device_secrets.revealed(ask, options.serial, DeviceSecret(options.secret))
                if isinstance(told, str):
                    terminal.print([told])
                    return Exit.DONE
            case "choose":
                typed = device_secrets.asked(options.secret.upper())
                told = await device_secrets.chosen(ask, options.serial, DeviceSecret(options.secret), typed)
            case _:
                told = await device_secrets.answered(
                    client.jetstream(), ask, options.prompt, device_secrets.asked("PIN")
                )
        return terminal.outcome(told, options.output, good=succeeded(told))


async def of_dead_letters(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        if options.do == "list":
            found = await dead_letters.listed(client)
            if options.json:
                terminal.raw(json.dumps([line_of(letter) for letter in found]).encode())
            else:
                terminal.print(dead_letters.table(found))
            return Exit.DONE
        letter = await dead_letters.find(client, options.letter)
        match options.do:
            case "show":
                terminal.print(dead_letters.at_length(letter, body=options.body))
            case "drop":
                await dead_letters.drop(client, letter)
            case _:
                if (ask := dead_letters.asked_again(letter, terminal.actor)) is not None:
                    event = await send(client, ask, options.timeout, problems)
                    if succeeded(event):
                        await dead_letters.drop(client, letter)
                    return terminal.outcome(event, options.output, good=succeeded(event))
                if (problem := await dead_letters.hand_back(client, letter)) is not None:
                    raise Failure(Exit.NOT_DONE, f"it is not processed, and stays: {problem}")
    return Exit.DONE
