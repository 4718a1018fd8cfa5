"""A real PC/SC daemon with virtual readers, in namespaces of its own.

It shares neither socket, nor ports, nor USB readers with the machine's own pcscd: a private mount namespace puts
a folder of ours over the daemon's run folder, which is fixed when pcscd is compiled, and an empty one over its USB
drivers; a private network namespace takes vpcd's ports, which vpcd opens on every address. Needs root, Debian's
pcscd and vsmartcard-vpcd, and works in a chroot without systemd.
"""

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kioskd.errors import PcscdDown

VPCD_LIBRARY = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
FIRST_PORT = 0x8C7B
SLOTS_A_READER = 2  # fixed when vpcd is compiled; the second slot listens on the next port
MAX_READERS = 7  # pcscd knows 16 slots
LONGEST_SOCKET_PATH = 107  # sun_path is 108 bytes with its closing zero
CLONE_NEWNET = 0x40000000
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
TCP_LISTEN = "0A"

# $1 our run folder, $2 the daemon's, $3 an empty folder, $4 the USB drivers; the rest is pcscd's command line.
# In a chroot "/" is no mount point and cannot be made private; there `unshare --propagation unchanged` is all that
# is allowed. The reader on descriptor 3 ends pcscd when whoever started it has died without saying so.
LAUNCHER = """
set -eu
mount --make-rprivate / 2>/dev/null || :
ip link set lo up
mount --bind "$1" "$2"
if [ -d "$4" ]; then mount --bind "$3" "$4"; fi
shift 4
exec 3<&0 </dev/null
{ read -r _ <&3 || :; kill -TERM $$; } 2>/dev/null &
exec 3<&-
exec "$@"
"""


class PcscdFailed(PcscdDown):
    """The private pcscd did not come up; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class VirtualReader:
    """A slot as PC/SC names it, and the port inside the namespace where its card connects."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class _Build:
    """What the installed pcscd was compiled with."""

    program: str
    run_folder: Path
    usb_drivers: Path
    asks_polkit: bool


def _build() -> _Build:
    program = shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise PcscdFailed("pcscd is not installed")
    if not VPCD_LIBRARY.exists():
        raise PcscdFailed(f"vsmartcard-vpcd is not installed: no {VPCD_LIBRARY}")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    usage = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout

    def feature(name: str, default: str) -> Path:
        found = re.search(rf"\b{name}=(\S+)", version)
        return Path(found[1] if found else default)

    return _Build(
        program,
        feature("ipcdir", "/run/pcscd"),
        feature("usbdropdir", "/usr/lib/pcsc/drivers"),
        asks_polkit="--disable-polkit" in usage,
    )


class PrivatePcscd:
    """A pcscd that only those who are given its `environment` can see.

    `workdir` holds its socket, configuration and log, and should be short: a socket's path has 107 bytes at most.
    `readers` is 1 to 7; each has two slots, so `slots` is twice as long as `readers`.
    """

    def __init__(self, workdir: Path, readers: int = 1) -> None:
        if not 1 <= readers <= MAX_READERS:
            raise ValueError(f"1 to {MAX_READERS} readers, not {readers}")
        self._workdir = workdir.resolve()
        self._socket = self._workdir / "run" / "pcscd.comm"
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            long = f"{self._socket} is longer than {LONGEST_SOCKET_PATH} bytes"
            raise PcscdFailed(f"{long}: take a folder with a shorter name, for instance by TMPDIR")
        self._process: subprocess.Popen[bytes] | None = None
        self.slots = tuple(
            VirtualReader(f"{_friendly_name(reader)} 00 {slot:02}", FIRST_PORT + SLOTS_A_READER * reader + slot)
            for reader in range(readers)
            for slot in range(SLOTS_A_READER)
        )
        self.readers = self.slots[::SLOTS_A_READER]

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client process needs in its environment to meet this pcscd and no other."""
        return {"PCSCLITE_CSOCK_NAME": str(self._socket)}

    @property
    def log(self) -> Path:
        """What pcscd said, over all its starts; it is never asked to log APDUs."""
        return self._workdir / "pcscd.log"

    @property
    def pid(self) -> int:
        """The daemon's process, or the last one's."""
        if self._process is None:
            raise PcscdFailed("pcscd was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the daemon lives now."""
        return self._process is not None and self._process.poll() is None

    def serve_this_process(self) -> None:
        """Point this process's own PC/SC calls here.

        libpcsclite reads its variable once in a process's life. So the variable names a link, and the link is turned:
        one process can meet several daemons one after the other, if its first PC/SC call comes after this.
        """
        link = _this_process_link()
        fresh = link.with_suffix(".new")
        fresh.symlink_to(self._socket)
        fresh.replace(link)
        os.environ["PCSCLITE_CSOCK_NAME"] = str(link)

    def start(self) -> None:
        """Start the daemon and wait until clients and cards can connect; `PcscdFailed` if they never can."""
        if self.running:
            raise PcscdFailed("pcscd runs already")
        build = _build()
        configuration, empty = self._prepare()
        build.run_folder.mkdir(parents=True, exist_ok=True)  # the mount point; what is in it stays hidden, untouched
        command = ["unshare", "--mount", "--net", "--propagation", "unchanged", "sh", "-c", LAUNCHER, "pcscd"]
        command += [str(self._socket.parent), str(build.run_folder), str(empty), str(build.usb_drivers)]
        command += [build.program, "--foreground", "--config", str(configuration)]
        if build.asks_polkit:
            command.append("--disable-polkit")  # the private daemon serves whoever knows its path
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the daemon as its service manager would; it never fails and may be called twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the daemon as a crash would: clients see their sockets close, and its files stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, if it runs, and start again; cards must connect anew, clients establish a new context."""
        self.stop()
        self.start()

    def connect_card(self, slot: VirtualReader | None = None) -> socket.socket:
        """A blocking TCP socket into vpcd, connected inside the namespace: a card inserted into `slot`.

        Closing it pulls the card; wait 0.6 s before the next insertion, or pcscd may not see the gap. Raises
        OSError while the daemon is down. The socket may be used from any thread or loop.
        """
        port = (slot or self.readers[0]).port
        namespace = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A namespace belongs to a thread; a socket keeps the one that it was made in.
            with ThreadPoolExecutor(max_workers=1) as visitor:
                return visitor.submit(_connect_inside, namespace, port).result()
        finally:
            os.close(namespace)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> tuple[Path, Path]:
        """Write the reader configuration and clear what a killed daemon left; the configuration and an empty folder."""
        configuration, drivers, empty = (self._workdir / name for name in ("conf", "drivers", "empty"))
        for folder in (self._socket.parent, configuration, drivers, empty):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in ("pcscd.comm", "pcscd.pid"):
            (self._socket.parent / leftover).unlink(missing_ok=True)
        for number, reader in enumerate(self.readers):
            # Two readers on one library alias each other: each has a copy of its own.
            library = drivers / f"vpcd{number}.so"
            shutil.copyfile(VPCD_LIBRARY, library)
            (configuration / f"vpcd{number}").write_text(
                f'FRIENDLYNAME "{_friendly_name(number)}"\n'
                f"DEVICENAME /dev/null:0x{reader.port:04X}\n"
                f"LIBPATH {library}\n"
                f"CHANNELID 0x{reader.port:04X}\n"
            )
        return configuration, empty

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not self.running:
                break
            if self._answers() and {slot.port for slot in self.slots} <= _listening(self.pid):
                return
            time.sleep(0.02)
        said = self.log.read_text(errors="replace")[-2000:].strip() or "nothing"
        raise PcscdFailed(f"the private pcscd did not come up; it said: {said}")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        _signal_group(process.pid, how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        _close(process.stdin)


def _friendly_name(reader: int) -> str:
    # Two readers of one name and one driver each would be listed under the same name.
    return "Virtual PCD" if reader == 0 else f"Virtual PCD {reader + 1}"


def _signal_group(leader: int, how: signal.Signals) -> None:
    # The group outlives its leader while the reader on descriptor 3 waits, so its number cannot be somebody else's.
    with suppress(ProcessLookupError):
        os.killpg(leader, how)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _listening(pid: int) -> set[int]:
    """The TCP ports that are listened on in the network namespace of a process."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = (line.split() for line in lines)
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == TCP_LISTEN}


def _connect_inside(namespace: int, port: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot enter the network namespace of pcscd: {os.strerror(code)}")
    connection = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
    connection.settimeout(None)
    return connection


@cache
def _this_process_link() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kioskd-pcsc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "pcscd.comm"
