"""The access server as it is, with a note of each message that crosses its links.

`python -m tests.path.counting_access FILE serve --config CONFIG` adds one line to FILE for each: `<` came, `>` went.
"""

import sys
from pathlib import Path

from kioskd.access.cli import main
from kioskd.edges.link_server import ServerLink
from kioskd.rekey.wire import Message


def count_into(path: Path) -> None:
    """Notes every message of every link from now on."""
    send, receive = ServerLink.send, ServerLink.receive
    file = path.open("a", encoding="ascii", buffering=1)

    async def noted_send(link: ServerLink, message: Message) -> None:
        print(">", type(message).__name__, message.head.tap, file=file)
        await send(link, message)

    async def noted_receive(link: ServerLink) -> Message:
        message = await receive(link)
        print("<", type(message).__name__, message.head.tap, file=file)
        return message

    ServerLink.send = noted_send  # type: ignore[method-assign,assignment]
    ServerLink.receive = noted_receive  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    count_into(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
