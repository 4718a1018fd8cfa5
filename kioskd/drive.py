"""The async loop that answers a conversation's asks."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from kioskd.rekey.relay_asks import Ask, Conversation

R = TypeVar("R")


async def drive(conversation: Conversation[R], answer: Callable[[Ask[Any]], Awaitable[Any]]) -> R:
    """Runs a conversation to its end and returns its result.

    A failed answer is a cut: the conversation is closed where it stands and the error goes on to the caller.
    """
    reply: Any = None
    try:
        while True:
            ask = conversation.send(reply)
            reply = await answer(ask)
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        conversation.close()
