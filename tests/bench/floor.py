"""The floor: what a replacement costs without any software of ours between its parts.

A process of its own. It speaks to its card by plain pyscard calls, in the tap's order: the same commands of the same
lengths, to a card of its own whose keys it knows; as many durable commits, with the same pragmas on the same file
system; three round trips over TLS 1.3 with messages of the same size. The wrapping of commands is not timed.

`python -m tests.bench.floor FOLDER READER PORT`; one JSON order a line in, one JSON answer a line out.
"""

import json
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smartcard import scard

from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.isd import (
    AES_TYPE,
    InitializeUpdateAnswer,
    KeyField,
    delete_key,
    get_data,
    initialize_update,
    put_key,
)
from kioskd.gp.keys import KVN, KeySet, kcv_aes
from kioskd.gp.scp03 import HostChannel
from kioskd.rekey.profile import DEFAULT_PROFILE, KEY_INFORMATION_TAG, identify_steps
from kioskd.secret import Secret
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import CardFile, CardMemory, StoredSet, save
from kioskd.virtual.card_options import CardOptions

KRK_KVN, MASTER_KVNS = 0x3E, (0x30, 0x31)
KEY = bytes(range(0x50, 0x60))
CHALLENGE = bytes(range(8))
ROW_BYTES = 1000
CARD_WAIT_MS = 10_000
_HEAD = 8  # up and down, 4 bytes each


def floor_card(path: Path) -> VirtualCard:
    """A card that holds a replacement set and a master set, as an issued one does."""
    sets = tuple(StoredSet(kvn, KEY, KEY, KEY) for kvn in (KRK_KVN, MASTER_KVNS[0]))
    save(path, CardFile(CardOptions(serial=b"\x00\xf1\x00\x0f"), CardMemory(sets)))
    return VirtualCard(path)


class Watch:
    """Adds up the parts."""

    def __init__(self) -> None:
        self.parts = {"card": 0.0, "commits": 0.0, "echoes": 0.0}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Times a part."""
        began = time.perf_counter()
        yield
        self.parts[part] += 1000 * (time.perf_counter() - began)


class RawCard:
    """A card by plain pyscard calls."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._waiting = _good(scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM))[0]
        self._context: Any = None
        self._handle: Any = None
        self._protocol = 0

    def wait(self) -> None:
        """Waits until a card is in the reader."""
        known = scard.SCARD_STATE_UNAWARE
        while not known & scard.SCARD_STATE_PRESENT:
            asked = [(self._reader, known)]
            known = _good(scard.SCardGetStatusChange(self._waiting, CARD_WAIT_MS, asked))[0][0][1]

    def connect(self) -> None:
        """Connects as the kiosk does."""
        self._context = _good(scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM))[0]
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        wanted = (self._context, self._reader, scard.SCARD_SHARE_EXCLUSIVE, protocols)
        self._handle, self._protocol = _good(scard.SCardConnect(*wanted))

    def transmit(self, command: bytes) -> bytes:
        """One command, which must be answered 9000."""
        answer = bytes(_good(scard.SCardTransmit(self._handle, self._protocol, list(command)))[0])
        if answer[-2:] != b"\x90\x00":
            raise SystemExit(f"the floor's card answered {answer[-2:].hex()} to {command[:4].hex()}")
        return answer[:-2]

    def close(self) -> None:
        """Ends the connection."""
        scard.SCardDisconnect(self._handle, scard.SCARD_UNPOWER_CARD)
        scard.SCardReleaseContext(self._context)


def _good(result: tuple[Any, ...]) -> tuple[Any, ...]:
    if result[0]:
        raise SystemExit(f"PC/SC: {result[0] & 0xFFFFFFFF:08X}")
    return result[1:]


class Disk:
    """A database with the pragmas of journal and store."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, body TEXT)")

    def commit(self) -> None:
        """One durable commit of one row."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO records (body) VALUES (?)", ("x" * ROW_BYTES,))
        self._connection.execute("COMMIT")


class Echo:
    """Round trips over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str) -> None:
        raw = socket.create_connection(("127.0.0.1", port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = context.wrap_socket(raw, server_hostname=name)

    def trip(self, up: int, down: int) -> None:
        """`up` bytes there, `down` bytes back."""
        self._line.sendall(up.to_bytes(4) + down.to_bytes(4) + bytes(up - _HEAD))
        _exactly(self._line, down)


def serve_echo(context: ssl.SSLContext) -> int:
    """The other end of `Echo`, in a thread of this process; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_side=True) as line:
            while head := _exactly(line, _HEAD):
                _exactly(line, int.from_bytes(head[:4]) - _HEAD)
                line.sendall(bytes(int.from_bytes(head[4:])))

    threading.Thread(target=serve, name="echo", daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = line.recv(count - len(data))
        if not part:
            return b""
        data += part
    return data


class Floor:
    """The run, again and again."""

    def __init__(self, card: RawCard, disk: Disk, echo: Echo) -> None:
        self._card, self._disk, self._echo = card, disk, echo
        self._turn = 0

    def run(self, trips: list[tuple[int, int]], commits: int) -> dict[str, float]:
        """One replacement with that many commits and round trips of those sizes; each part's milliseconds."""
        watch, card = Watch(), self._card
        card.wait()
        with watch.on("card"):
            card.connect()
            for step in identify_steps(DEFAULT_PROFILE)[:4]:
                card.transmit(step.command)
        with watch.on("echoes"):
            self._echo.trip(*trips[0])
        with watch.on("card"):
            answer = card.transmit(initialize_update(KVN(KRK_KVN), CHALLENGE).encode())
        authenticate, change = self._wrapped(answer)
        with watch.on("commits"):
            for _ in range(2):
                self._disk.commit()
        with watch.on("echoes"):
            self._echo.trip(*trips[1])
        with watch.on("card"):
            card.transmit(authenticate)
        with watch.on("commits"):
            self._disk.commit()
        with watch.on("card"):
            for command in change:
                card.transmit(command)
        with watch.on("commits"):
            for _ in range(commits - 3):
                self._disk.commit()
        with watch.on("echoes"):
            self._echo.trip(*trips[2])
        card.close()
        return watch.parts

    def _wrapped(self, answer: bytes) -> tuple[bytes, list[bytes]]:
        """EXTERNAL AUTHENTICATE, and the commands after it: the old set goes, a new one comes and is greeted."""
        old, new = MASTER_KVNS[self._turn % 2], MASTER_KVNS[(self._turn + 1) % 2]
        self._turn += 1
        parsed = InitializeUpdateAnswer.parse(answer)
        krk = KeySet(*(AESKey(Secret(KEY)) for _ in range(3)))
        channel = HostChannel.begin(derive_session_keys(krk, CHALLENGE, parsed.card_challenge), DEFAULT_PROFILE.level)
        field = KeyField(AES_TYPE, krk.dek.encrypt_cbc(bytes(16), KEY), len(KEY), kcv_aes(AESKey(Secret(KEY))))
        first, channel = channel.external_authenticate(CHALLENGE, parsed.card_challenge)
        wrapped = []
        for command in (delete_key(KVN(old)), put_key(KVN(new), (field,) * 3), get_data(KEY_INFORMATION_TAG)):
            secured, _, channel = channel.wrap(command)
            wrapped.append(secured.encode())
        return first.encode(), [*wrapped, initialize_update(KVN(new), CHALLENGE).encode()]


def main(folder: Path, reader: str, port: int) -> None:
    """Obeys orders until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=folder / "ca" / "ca.crt")
    context.load_cert_chain(folder / "tls" / "kiosk.crt", folder / "tls" / "kiosk.key")
    floor = Floor(RawCard(reader), Disk(folder / "floor.db"), Echo(port, context, "access.demo"))
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(floor.run([(up, down) for up, down in order["trips"]], order["commits"])), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
