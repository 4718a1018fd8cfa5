"""The versions of what a terminal runs on, for its status and for a support bundle."""

import os
import platform
import ssl
from functools import cache

from kioskd.version import VERSION

PARTS = ("aiohttp", "pyscard", "PyYAML", "systemd-python")


@cache
def versions() -> dict[str, str]:
    """Name and version of kioskd, Python, OpenSSL, the kernel and the libraries that a terminal loads."""
    from importlib.metadata import PackageNotFoundError, version  # brings a library of mail along

    found = {
        "kioskd": VERSION,
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION,
        "Linux": os.uname().release,
    }
    for part in PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "unknown"
    return found
