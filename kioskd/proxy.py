"""How an HTTP proxy is written, in the configuration and on the command line."""

import re

from kioskd.errors import BadConfiguration

_PROXY = re.compile(r"http://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})/?")


def proxy_address(proxy: str) -> tuple[str, int]:
    """Host and port of an http:// proxy; `BadConfiguration` for anything else."""
    found = _PROXY.fullmatch(proxy)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise BadConfiguration("the proxy needs http://HOST:PORT, without a user and a password")
    return found["host"].strip("[]"), int(found["port"])
