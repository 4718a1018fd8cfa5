"""What can be told of a terminal that does not run: from its configuration, its certificate and its journal."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from kioskd.config import TerminalConfig, file_of, load_yaml
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.tls import validity
from kioskd.errors import KioskError
from kioskd.kiosk.status_words import counted, size
from kioskd.terminal.limits import DAY_S


def told_without(config: Path, sentence: str) -> dict[str, Any]:
    """What there is, in plain values; what may not be read says so in a sentence."""
    told: dict[str, Any] = {"running": False, "sentence": sentence, "config": str(config)}
    try:
        read = load_yaml(TerminalConfig, config)
    except KioskError as wrong:
        return {**told, "problem": str(wrong)}
    server = read.server
    told |= {"name": read.name, "server": f"{server.host}:{server.port}"}
    return {**told, "certificate": _certificate(read), "journal": _journal(Path(read.journal))}


def stopped_lines(told: dict[str, Any]) -> list[str]:
    """The same for a person."""
    shown = [f"{told.get('name', 'The terminal')} does not run, or does not answer."]
    shown.append(f"  status socket        {told['sentence']}")
    if "problem" in told:
        shown.append(f"  configuration        {told['problem']}")
    if "server" in told:
        shown.append(f"  access server        {told['server']}")
        shown.append(f"  certificate          {_certificate_words(told['certificate'])}")
        shown.append(f"  journal              {_journal_words(told['journal'])}")
    return [*shown, "", f"Next: {next_step(told)}"]


def next_step(told: dict[str, Any]) -> str:
    """The one thing to do now."""
    if "problem" in told:
        return "correct the configuration, or name it with --config; then: systemctl restart kioskd-kiosk."
    return "systemctl status kioskd-kiosk, then: systemctl start kioskd-kiosk; kioskctl selftest tries each part."


def _certificate(config: TerminalConfig) -> dict[str, Any]:
    try:
        begin, end = validity(file_of(config.tls.certificate))
    except KioskError as wrong:
        return {"problem": str(wrong)}
    return {"not_before": begin, "not_after": end, "days_left": round((end - time.time()) / DAY_S, 1)}


def _certificate_words(told: dict[str, Any]) -> str:
    if "problem" in told:
        return str(told["problem"])
    end = time.strftime("%Y-%m-%d", time.gmtime(told["not_after"]))
    return f"until {end}, {told['days_left']:.0f} days" if told["days_left"] >= 0 else f"ended on {end}"


def _journal(path: Path) -> dict[str, Any]:
    """Its figures, read in a copy: the journal itself is the daemon's alone, and stays untouched."""
    with tempfile.TemporaryDirectory(prefix="kioskctl-") as folder:
        try:
            for end in ("", "-wal"):
                file = path.with_name(path.name + end)
                if not end or file.exists():
                    shutil.copyfile(file, Path(folder, f"journal{end}"))
        except OSError as wrong:
            return {"problem": f"{path}: cannot be read: {wrong.strerror}"}
        try:
            return asyncio.run(_read(Path(folder, "journal")))
        except KioskError:
            return {"problem": f"{path}: is damaged, or of another version"}


async def _read(copy: Path) -> dict[str, Any]:
    journal = SqliteJournal(copy)
    try:
        reports, figures = await journal.pending(), await journal.figures()
    finally:
        await journal.close()
    cards = len({one.card for one in reports})
    return {
        "pending_reports": len(reports),
        "open_cases": cards,
        "bytes": figures.bytes,
        "cryptograms": figures.cryptograms,
    }


def _journal_words(told: dict[str, Any]) -> str:
    if "problem" in told:
        return str(told["problem"])
    waiting = f"{counted(told['pending_reports'], 'report')} of {counted(told['open_cases'], 'card')}"
    return f"{waiting} waiting, {size(told['bytes'])}"
