"""Whether a time service steers this machine's clock, as the kernel and systemd say."""

import ctypes
from pathlib import Path

_TIME_ERROR = 5  # adjtimex(2): not synchronised
_TIMEX_BYTES = 512  # more than struct timex has anywhere; all zero asks and changes nothing
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_TIMESYNC = Path("/run/systemd/timesync")


def synchronised() -> bool | None:
    """Whether the clock is synchronised; None if nobody tells (a unit with ProtectClock= may not ask the kernel)."""
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    if state >= 0:
        return state != _TIME_ERROR
    if _SYNCHRONISED.exists():
        return True
    return False if _TIMESYNC.is_dir() else None
