"""How a terminal is, in the one line that `systemctl status` shows."""

from kioskd.outcomes import outcome
from kioskd.terminal.status import Status
from kioskd.terminal.uplink import Uplink


def standing(status: Status, uplink: Uplink, draining: bool) -> str:
    """Ready or draining; then the link, the readers, the taps under way, how the last one ended."""
    if status.pcscd == "down":
        readers = f"none ({_coded('pcscd-down')})"
    else:
        readers = str(len(status.readers) or f"none ({_coded('no-reader')})")
    parts = [
        "draining" if draining else "ready",
        "link up" if uplink.connected else f"link down ({_coded(uplink.problem or 'server-down')})",
        f"readers: {readers}",
        f"taps under way: {status.under_way}",
    ]
    if status.taps:
        parts.append(f"last tap: {_coded(status.taps[-1].outcome)}")
    return "; ".join(parts)


def _coded(name: str) -> str:
    return f"{outcome(name).code} {name}"
