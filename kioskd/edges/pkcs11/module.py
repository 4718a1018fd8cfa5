"""Loading a PKCS#11 module: initialised with its own locks, and with the parameters that NSS wants.

python-pkcs11 says C_Initialize(NULL). SoftHSM2 then uses no mutex while the binding gives up the interpreter's lock,
and two threads crash it; NSS refuses. So the first call is made here, through the module's function list.
"""

import ctypes
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

from pkcs11 import _pkcs11
from pkcs11.exceptions import PKCS11Error

from kioskd.errors import HsmGone

_OS_LOCKING_OK = 0x02
_C_INITIALIZE, _C_FINALIZE, _C_INIT_TOKEN = 0, 1, 9  # positions in CK_FUNCTION_LIST
_LABEL_BYTES = 32

module_lock = threading.RLock()
"""Held during every conversation with a token: one thread at a time, whatever a module says of itself."""


class _InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS, with the parameters' place as NSS has it."""

    _fields_ = (
        ("create", ctypes.c_void_p),
        ("destroy", ctypes.c_void_p),
        ("lock", ctypes.c_void_p),
        ("unlock", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("parameters", ctypes.c_char_p),
        ("reserved", ctypes.c_void_p),
    )


@cache
def load(path: str, parameters: str = "", configuration: str = "") -> Any:
    """The module at `path`, once a process; `HsmGone` if it cannot be used.

    `parameters` go to NSS; `configuration` is SoftHSM2's own file, if it is not the system's.
    """
    if configuration:
        os.environ["SOFTHSM2_CONF"] = configuration

    class Module(_pkcs11.lib):
        """The binding's module, initialised in our way."""

        def initialize(self) -> None:
            """C_Initialize with locks."""
            arguments = _InitializeArgs(None, None, None, None, _OS_LOCKING_OK, parameters.encode() or None, None)
            result = _function(path, _C_INITIALIZE, ctypes.c_void_p)(ctypes.byref(arguments))
            if result:
                raise HsmGone(f"{path}: does not start (CKR {result:08X})")

    if not Path(path).is_file():
        raise HsmGone(f"{path}: there is no such module")
    try:
        return Module(path)
    except (PKCS11Error, OSError) as wrong:
        raise HsmGone(f"{path}: is no PKCS#11 module that can be used: {wrong}") from wrong


def restart(path: str, library: Any) -> None:
    """C_Finalize and C_Initialize: every session of this process is gone, and so is the memory that the module lost.

    SoftHSM2 2.6.1 loses 3.1 kB in each replacement, and gives it back here.
    """
    with module_lock:
        result = _function(path, _C_FINALIZE, ctypes.c_void_p)(None)
        if result:
            raise HsmGone(f"{path}: does not end (CKR {result:08X})")
        library.initialize()


def init_token(path: str, slot: int, so_pin: bytes, label: str) -> None:
    """C_InitToken: a new, empty token in that slot; everything that was in it is gone."""
    call = _function(path, _C_INIT_TOKEN, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    result = call(slot, so_pin, len(so_pin), label.encode().ljust(_LABEL_BYTES))
    if result:
        raise HsmGone(f"{path}: the token could not be made (CKR {result:08X})")


def _function(path: str, position: int, *arguments: Any) -> Any:
    """One function of the module's list: a version, then pointers."""
    table = ctypes.POINTER(ctypes.c_void_p)()
    get_list = ctypes.CDLL(path).C_GetFunctionList
    get_list.argtypes = [ctypes.c_void_p]
    if get_list(ctypes.byref(table)):
        raise HsmGone(f"{path}: gives no function list")
    return ctypes.CFUNCTYPE(ctypes.c_ulong, *arguments)(table[1 + position])
