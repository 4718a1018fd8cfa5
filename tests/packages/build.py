"""What a container is made from: the packages of this very tree, and a root that has what they depend on.

Both are kept in build/packages, which git ignores: the packages by the sources' hash, the root by its packages' names.
What is not there yet is made on both sides at once.
"""

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.packages.container import ContainerFailed, run

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "packages"
SOURCES = (".ci/packages", "config", "debian", "docs/completion", "docs/man", "kioskd", "lock", "systemd")
PACKAGES = ("kioskd", "kioskd-server", "kioskd-sim")
_BOTH = ("systemd", "systemd-sysv", "dbus", "python3", "pcscd", "libpcsclite1", "vsmartcard-vpcd")
IN_THE_ROOT = {
    "bookworm": (*_BOTH, "libstdc++6", "libsystemd0"),
    "trixie": (
        *(*_BOTH, "polkitd", "python3-aiohttp", "python3-cryptography", "python3-pyscard"),
        *(
            "python3-prometheus-client",
            "python3-systemd",
            "python3-textual",
            "python3-typing-extensions",
            "python3-yaml",
        ),
    ),
}
"""What the packages depend on; dpkg names what is missing here when it installs them."""


def ingredients(suite: str) -> tuple[dict[str, Path], Path]:
    """The Debian packages by name, and the root for a machine that they are installed on."""
    with ThreadPoolExecutor() as both:
        made, empty = both.submit(packages, suite), both.submit(root, suite)
        return made.result(), empty.result()


def packages(suite: str) -> dict[str, Path]:
    """The Debian packages by name, built now if this tree's are not there."""
    folder = KEPT / f"{suite}-{_digest()}"
    if not (folder / "done").exists():
        for old in KEPT.glob(f"{suite}-*"):
            run("rm", "-r", str(old))
        run(str(ROOT / ".ci" / "packages"), str(folder), suite, ROOTS=str(KEPT), LINTIAN="no")
        (folder / "done").touch()
    return {name: next(folder.glob(f"{name}_*.deb")) for name in PACKAGES}


def root(suite: str) -> Path:
    """A tar file: Debian with systemd and what the packages depend on, but not with them."""
    included = ",".join(IN_THE_ROOT[suite])
    kept = KEPT / f"root-{suite}-{hashlib.sha256(included.encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob(f"root-{suite}-*"):
            old.unlink()
        part = kept.with_suffix(".part")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}", suite, "-"]
        with part.open("wb") as tar:
            done = subprocess.run(command, stdout=tar, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise ContainerFailed(f"{' '.join(command)}: {done.stderr[-2000:]}")
        part.rename(kept)
    return kept


def _digest() -> str:
    """All that goes into the packages, as one short number."""
    found = hashlib.sha256()
    pages = {page for listed in (ROOT / "debian").glob("*.docs") for page in listed.read_text().split()}
    for name in (*SOURCES, *sorted(pages)):
        place = ROOT / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and "__pycache__" not in file.parts and file.parent.name != "tests":
                found.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]
