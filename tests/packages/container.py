"""A machine with systemd as its first process: a container of systemd-nspawn, on a network of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE_S = 120.0
"""Generous: a busy machine boots a container in half a minute."""

LONGEST_S = 3000
"""For any one command: a busy machine took more than ten minutes to build the packages."""

CGROUPS = next(folder for folder in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if folder.exists())


class ContainerFailed(Exception):
    """A container did not do what it must; the text holds what it said."""


def until(true: Callable[[], bool], otherwise: Callable[[], str], patience_s: float = PATIENCE_S) -> None:
    """Waits for something to become true; `ContainerFailed` with what is known otherwise."""
    end = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > end:
            raise ContainerFailed(otherwise())
        time.sleep(0.1)


def run(*command: str, **more: str) -> str:
    """A command on this machine; what it printed, or `ContainerFailed`."""
    environment = {**os.environ, **more}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S, env=environment)
    if done.returncode:
        raise ContainerFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


class Cable:
    """Two networks and a cable between them; each sees its own end and nothing of this machine."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self._holders = [
            subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in addresses
        ]
        for holder in self._holders:
            assert holder.stdout is not None
            holder.stdout.readline()  # it is in its network now
        first, second = self._holders
        ends = ("name", "cable0", "type", "veth", "peer", "name", "cable0", "netns", str(second.pid))
        self._in(first, ["ip", "link", "add", *ends])
        for holder, address in zip(self._holders, addresses, strict=True):
            for words in (f"addr add {address}/24 dev cable0", "link set cable0 up", "link set lo up"):
                self._in(holder, ["ip", *words.split()])

    def network(self, end: int) -> Path:
        """The network at one end."""
        return Path(f"/proc/{self._holders[end].pid}/ns/net")

    def _in(self, holder: "subprocess.Popen[bytes]", command: list[str]) -> None:
        run("nsenter", f"--net=/proc/{holder.pid}/ns/net", *command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            for pipe in (holder.stdin, holder.stdout):
                assert pipe is not None
                pipe.close()


@dataclass(slots=True)
class Container:
    """A root folder that can be booted, used, halted, and killed like a machine whose power fails."""

    name: str
    root: Path
    network: Path | None = None  # None: its own, with nothing but the loopback
    binds: Mapping[Path, str] = field(default_factory=dict)
    _supervisor: "subprocess.Popen[bytes] | None" = field(init=False, default=None)
    _leader: int = field(init=False, default=0)

    def boot(self) -> None:
        """Starts it and waits until systemd has started everything."""
        command = ["setpriv", "--pdeathsig", "KILL", "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"]
        command += [
            f"--machine={self._cgroup().name}",
            f"--hostname={self.name}",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]
        command += ["--system-call-filter=bpf", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]
        command += [f"--network-namespace-path={self.network}"] if self.network else ["--private-network"]
        command += [f"--bind={outside}:{inside}" for outside, inside in self.binds.items()]
        with self._log().open("ab") as log:
            self._supervisor = subprocess.Popen(
                ["sh", "-c", 'mkdir -p "$0" && echo $$ >"$0/cgroup.procs" && exec "$@"', str(self._cgroup()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        until(self._is_up, lambda: f"{self.name} does not boot: {self._log().read_text(errors='replace')[-2000:]}")

    def run(self, *command: str) -> str:
        """A command inside; what it printed, or `ContainerFailed`."""
        return run(*self.enter(*command))

    def enter(self, *command: str) -> list[str]:
        """The words that run a command inside."""
        namespaces = ["-m", "-u", "-i", "-n", "-p", "-C"]
        environment = [f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/", "DEBIAN_FRONTEND=noninteractive"]
        return ["nsenter", "-t", str(self._leader), *namespaces, "--", "/usr/bin/env", "-i", *environment, *command]

    def succeeds(self, *command: str) -> bool:
        """Whether a command inside ends with 0."""
        return subprocess.run(self.enter(*command), capture_output=True, check=False, timeout=300).returncode == 0

    def kill(self) -> None:
        """As a power cut does: every process is gone at once."""
        assert self._leader, "0 would be our own process group"
        os.kill(self._leader, signal.SIGKILL)
        self._gone()

    def halt(self) -> None:
        """As a person does who switches it off; by force if that does not help."""
        if self._supervisor is None:
            return
        try:
            if not self._leader:  # it never came up; 0 would be our own process group
                raise ProcessLookupError
            os.kill(self._leader, signal.SIGRTMIN + 3)
            self._supervisor.wait(60)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self._supervisor.kill()
        self._gone()

    def _gone(self) -> None:
        assert self._supervisor is not None
        self._supervisor.wait(60)
        self._supervisor, self._leader = None, 0
        until(self._swept, lambda: f"{self.name}: something lives on in {self._cgroup()}")

    def _swept(self) -> bool:
        """Removes the container's control groups; False while a process of it is still on its way out."""
        try:
            for tree in (CGROUPS, CGROUPS.with_name("systemd")):  # where both versions are, nspawn uses both
                own = tree / self._cgroup().name
                for folder in sorted((*own.rglob("*/"), own), reverse=True):
                    if folder.is_dir():
                        folder.rmdir()
        except OSError:
            return False
        return True

    def _is_up(self) -> bool:
        assert self._supervisor is not None
        if self._supervisor.poll() is not None:
            raise ContainerFailed(f"{self.name} ended: {self._log().read_text(errors='replace')[-2000:]}")
        children = subprocess.run(
            ["pgrep", "-P", str(self._supervisor.pid)], capture_output=True, text=True, check=False
        )
        if not children.stdout.split():
            return False
        self._leader = int(children.stdout.split()[0])
        state = subprocess.run(
            self.enter("systemctl", "is-system-running"), capture_output=True, text=True, check=False, timeout=60
        )
        return state.stdout.strip() in ("running", "degraded")

    def _cgroup(self) -> Path:
        return CGROUPS / f"kioskd-{self.name}-{os.getpid()}"  # nobody else's on this machine

    def _log(self) -> Path:
        return self.root.with_suffix(".log")


@dataclass(slots=True)
class Hand:
    """The virtual card of kioskd-sim in the reader of a container's own pcscd."""

    container: Container
    state: str  # the card's file, as the container names it
    options: str = ""
    _process: "subprocess.Popen[str] | None" = field(init=False, default=None)

    def __enter__(self) -> Self:
        more = ("--options", self.options) if self.options else ()
        command = self.container.enter("kioskd", "sim", "card", "--state", self.state, *more)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._input().close()
        self._process.wait(30)

    def insert(self) -> None:
        """Puts the card in."""
        self._say("insert")

    def pull(self) -> None:
        """Takes it out."""
        self._say("pull")

    def _say(self, word: str) -> None:
        self._input().write(f"{word}\n")
        self._input().flush()

    def _input(self) -> IO[str]:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin
