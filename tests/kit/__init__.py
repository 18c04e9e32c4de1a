"""For authors of sagas: a conversation with a saga, and every path that one can take with every fault at every point.

Nothing else is needed: who is asked answers as the golden sample of the event says, about what was asked. The clock is
virtual. docs/contributing.md, "A new saga", shows how.
"""

from tests.kit.conversation import Conversation
from tests.kit.exploring import explore, wander

__all__ = ["Conversation", "explore", "wander"]
