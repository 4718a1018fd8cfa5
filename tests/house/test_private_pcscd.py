"""The private pcscd, asked by the real PC/SC library."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from smartcard import scard

from kioskd.virtual.pcscd import PcscdFailed, PrivatePcscd

pytestmark = [pytest.mark.pcscd, pytest.mark.usefixtures("root_only")]

ATR = bytes.fromhex("3B80800101")
SELECT = bytes.fromhex("00A4040000")
ANSWER = bytes.fromhex("6F009000")
POWER_OFF, POWER_ON, RESET, GIVE_ATR = b"\x00", b"\x01", b"\x02", b"\x04"
LIST_READERS = """
from smartcard import scard
result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
print(result, *scard.SCardListReaders(context, [])[1], sep="|")
"""


def establish() -> int:
    """A new PC/SC context of this process."""
    result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    assert result == scard.SCARD_S_SUCCESS, hex(result & 0xFFFFFFFF)
    return int(context)


def readers_here() -> list[str]:
    """The readers that this process sees through a new context."""
    context = establish()
    result, names = scard.SCardListReaders(context, [])
    scard.SCardReleaseContext(context)
    assert result == scard.SCARD_S_SUCCESS, hex(result & 0xFFFFFFFF)
    return list(names)


def readers_of_a_client(pcscd: PrivatePcscd) -> str:
    """What a process sees that was given the environment and nothing else."""
    client = subprocess.run(
        [sys.executable, "-c", LIST_READERS], env=os.environ | pcscd.environment, capture_output=True, text=True
    )
    assert client.returncode == 0, client.stderr
    return client.stdout.strip()


@contextmanager
def card_in(pcscd: PrivatePcscd) -> Iterator[None]:
    """A card of five lines: an ATR, and one answer to everything."""
    connection = pcscd.connect_card()

    def exact(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def serve() -> None:
        try:
            while True:
                message = exact(int.from_bytes(exact(2)))
                if message in (POWER_OFF, POWER_ON, RESET):
                    continue
                answer = ATR if message == GIVE_ATR else ANSWER
                connection.sendall(len(answer).to_bytes(2) + answer)
        except OSError:
            return

    card = Thread(target=serve, daemon=True)
    card.start()
    try:
        yield
    finally:
        with suppress(OSError):  # the daemon may have hung up first
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        card.join(5)


def select_on(reader: str) -> bytes:
    """Connect to the card as soon as it is there and send it one command."""
    context = establish()
    deadline = time.monotonic() + 5
    while True:
        result, card, _ = scard.SCardConnect(
            context, reader, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        )
        if result == scard.SCARD_S_SUCCESS:
            break
        assert time.monotonic() < deadline, hex(result & 0xFFFFFFFF)
        state = [(reader, scard.SCARD_STATE_EMPTY)]
        scard.SCardGetStatusChange(context, 500, state)
    result, response = scard.SCardTransmit(card, scard.SCARD_PCI_T1, list(SELECT))
    assert result == scard.SCARD_S_SUCCESS, hex(result & 0xFFFFFFFF)
    scard.SCardDisconnect(card, scard.SCARD_UNPOWER_CARD)
    scard.SCardReleaseContext(context)
    return bytes(response)


def becomes(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Whether `condition` holds within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_naming(folder: Path) -> list[str]:
    """Command lines of living processes that mention a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and alive(int(entry.parent.name)):
            found.append(line)
    return found


def test_this_process_lists_the_slots_under_the_names_that_were_promised(private_pcscd: PrivatePcscd) -> None:
    assert readers_here() == [slot.name for slot in private_pcscd.slots]


def test_a_card_in_the_reader_answers_a_command(private_pcscd: PrivatePcscd) -> None:
    with card_in(private_pcscd):
        assert select_on(private_pcscd.readers[0].name) == ANSWER


def test_two_readers_have_names_of_their_own(root_only: None, tmp_path: Path) -> None:
    with PrivatePcscd(tmp_path, readers=2) as pcscd:
        listed = readers_of_a_client(pcscd)
        assert listed == "|".join(["0", *(slot.name for slot in pcscd.slots)])
        assert len({slot.name for slot in pcscd.slots}) == 4


def test_a_killed_daemon_refuses_cards_and_clients_until_it_is_started_again(private_pcscd: PrivatePcscd) -> None:
    context = establish()
    private_pcscd.kill()
    assert not private_pcscd.running
    result, _ = scard.SCardListReaders(context, [])
    assert result & 0xFFFFFFFF in (0x80100013, 0x8010001D)
    with pytest.raises(OSError, match=r"No such|refused"):
        private_pcscd.connect_card()
    private_pcscd.start()
    with card_in(private_pcscd):
        assert select_on(private_pcscd.readers[0].name) == ANSWER


def test_a_restart_serves_the_same_process_again(private_pcscd: PrivatePcscd) -> None:
    first = private_pcscd.pid
    private_pcscd.restart()
    assert private_pcscd.pid != first
    assert readers_here() == [slot.name for slot in private_pcscd.slots]


def test_two_daemons_side_by_side_do_not_see_each_others_cards(root_only: None, tmp_path: Path) -> None:
    with PrivatePcscd(tmp_path / "a") as one, PrivatePcscd(tmp_path / "b", readers=2) as other:
        assert readers_of_a_client(one).count("|") == 2
        assert readers_of_a_client(other).count("|") == 4
        other.serve_this_process()
        with card_in(one):
            context = establish()
            _, states = scard.SCardGetStatusChange(context, 600, [(other.readers[0].name, scard.SCARD_STATE_EMPTY)])
            assert states[0][1] & scard.SCARD_STATE_EMPTY
            scard.SCardReleaseContext(context)
            one.serve_this_process()
            assert select_on(one.readers[0].name) == ANSWER


def test_the_ports_of_the_reader_are_not_open_on_the_machine(private_pcscd: PrivatePcscd) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", private_pcscd.readers[0].port), timeout=1)


def test_nothing_is_left_behind(root_only: None, tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    for end in (PrivatePcscd.stop, PrivatePcscd.kill):
        with PrivatePcscd(tmp_path) as pcscd:
            assert processes_naming(tmp_path)
            end(pcscd)
        assert becomes(lambda: not processes_naming(tmp_path)), processes_naming(tmp_path)
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_daemon_dies_with_the_process_that_started_it(root_only: None, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time; from kioskd.virtual.pcscd import PrivatePcscd\n"
        "p = PrivatePcscd(pathlib.Path(sys.argv[1])); p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert alive(pid)
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert becomes(lambda: not alive(pid))


def test_a_daemon_that_cannot_start_says_why(root_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "pcscd"
    failing.write_text("#!/bin/sh\ncase $1 in --version | --help) exit 0 ;; esac\necho no luck\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pcscd = PrivatePcscd(tmp_path / "work")
    with pytest.raises(PcscdFailed, match="did not come up; it said: no luck"):
        pcscd.start()
    assert not pcscd.running
    assert becomes(lambda: not processes_naming(tmp_path))


def test_a_folder_too_deep_for_a_socket_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(PcscdFailed, match="longer than 107 bytes"):
        PrivatePcscd(tmp_path / ("x" * 100))
