"""The support bundle: what support needs to see of a terminal, without secrets, each file with its SHA-256."""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Mapping
from typing import Any

from kioskd.config import TerminalConfig
from kioskd.shape import to_plain
from kioskd.terminal.answers import SelfTestAnswer, StatusAnswer
from kioskd.terminal.versions import versions

FOLDER = "kioskd-support"
NOT_SHOWN = "(not shown)"


def bundle(config: TerminalConfig | None, told: StatusAnswer | Mapping[str, Any] | None, test: SelfTestAnswer) -> bytes:
    """A gzipped tar: configuration, status, journal figures, self-test, versions, and manifest.json.

    `told` is None, and the status left out, where the terminal does not run; so is a configuration that is not usable.
    """
    status = to_plain(told)
    files: dict[str, Any] = {"versions.json": versions(), "selftest.json": to_plain(test)}
    if config is not None:
        files["config.json"] = redacted(config)
    if status is not None:
        files["status.json"] = status
        files["journal.json"] = {
            "figures": status["journal"],
            "pending_reports": status["pending_reports"],
            "open_cases": status["open_cases"],
        }
    return packed({name: json.dumps(what, indent=2, ensure_ascii=False).encode() for name, what in files.items()})


def redacted(config: TerminalConfig) -> dict[str, Any]:
    """The configuration as it was understood: no comment goes along. Where the key lies is not shown."""
    plain: dict[str, Any] = to_plain(config)
    plain["tls"]["key"] = NOT_SHOWN
    return plain


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files and their manifest as a gzipped tar."""
    made = int(time.time())
    manifest = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
        "files": [
            {"name": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for name, body in sorted(files.items())
        ],
    }
    every = {**files, "manifest.json": json.dumps(manifest, indent=2).encode()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, body in sorted(every.items()):
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mtime, entry.mode = len(body), made, 0o600
            tar.addfile(entry, io.BytesIO(body))
    return out.getvalue()
