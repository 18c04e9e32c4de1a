"""Test kit for authors of sagas: a conversation with one saga, and the exploration of every path it can take.

It needs no services: a golden sample answers each command, and the clock is virtual. docs/contributing.md, "A new
saga", shows how to use it.
"""

from tests.kit.conversation import Conversation
from tests.kit.exploration import explore, wander

__all__ = ["Conversation", "explore", "wander"]
