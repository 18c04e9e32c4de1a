"""A client of the key service on the wire."""

from base64 import b64encode

from nats.js.api import DeliverPolicy
from pydantic_core import from_json, to_json

from shared.messages.headers import Header
from shared.messages.ids import new_id


async def ask(client, verb, key_id=None, **fields):
    """Sends a command to the key service; returns verb and body of the event that it causes."""
    js, command_id = client.jetstream(), str(new_id())
    body = fields if key_id is None else {"key_id": key_id, **fields}
    await js.publish(f"keys.commands.key.{verb}", to_json(body), headers={Header.COMMAND_ID: command_id})
    events = await js.subscribe("keys.events.>", ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
    try:
        while True:
            event = await events.next_msg(timeout=10)
            if event.headers[Header.CAUSATION_ID] == command_id:
                return event.subject.split(".")[3], from_json(event.data)
    finally:
        await events.unsubscribe()


async def ask_to_sign(client, key_id, message=b"hello"):
    """Requests a signature of *message* with an EC key for digital signatures."""
    return await ask(
        client,
        "sign",
        key_id,
        message=b64encode(message).decode(),
        signature_algorithm="ecdsa-sha256",
        purpose="digital-signature",
    )
