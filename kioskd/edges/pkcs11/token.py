"""One token: its login for life, objects by label, and its errors as ours.

Closing the session that logged in would log out and destroy private session objects, so it lives as long as this.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pkcs11 import Attribute, Mechanism, ObjectClass, attributes, exceptions

from kioskd.edges.pkcs11.module import load, module_lock, restart
from kioskd.errors import HsmFull, HsmGone, HsmPin, VaultError
from kioskd.secret import Secret

T = TypeVar("T")

_COPY = "copy"
_LOGINS = 3  # logins of two processes at once fail now and then

# The binding has no handler for array attributes, and without one it crashes.
_kept: dict[bool, Any] = {}  # what templates of templates point to must outlive the call


def _packed_template(template: dict[Attribute, bool]) -> bytes:
    """CK_ATTRIBUTE for each: type, pointer, length; all values are booleans."""
    for value in (True, False):
        _kept.setdefault(value, ctypes.create_string_buffer(bytes((value,)), 1))
    return b"".join(struct.pack("LPL", int(one), ctypes.addressof(_kept[value]), 1) for one, value in template.items())


attributes.ATTRIBUTE_TYPES[Attribute.UNWRAP_TEMPLATE] = (_packed_template, bytes)
attributes.ATTRIBUTE_TYPES[Attribute.ALLOWED_MECHANISMS] = (
    lambda mechanisms: b"".join(struct.pack("L", int(one)) for one in mechanisms),
    lambda raw: [one for (one,) in struct.iter_unpack("L", raw)],
)

_GONE = (
    exceptions.DeviceError,
    exceptions.DeviceRemoved,
    exceptions.TokenNotPresent,
    exceptions.TokenNotRecognised,
    exceptions.NoSuchToken,
    exceptions.SessionClosed,
    exceptions.SessionHandleInvalid,
    exceptions.GeneralError,
    exceptions.ObjectHandleInvalid,
    exceptions.KeyHandleInvalid,
    exceptions.UserNotLoggedIn,
)
_PIN = (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLocked, exceptions.PinLenRange)
_FULL = (exceptions.DeviceMemory, exceptions.HostMemory)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns the binding's errors into `HsmGone`, `HsmPin`, `HsmFull` or `VaultError`; holds the module's lock."""
    with module_lock:
        try:
            yield
        except _PIN as wrong:
            raise HsmPin(f"{what}: the token refuses the PIN ({type(wrong).__name__})") from wrong
        except _FULL as wrong:
            raise HsmFull(f"{what}: the token is full ({type(wrong).__name__})") from wrong
        except _GONE as wrong:
            raise HsmGone(f"{what}: the token or an object in it is gone ({type(wrong).__name__})") from wrong
        except exceptions.PKCS11Error as wrong:
            raise VaultError(f"{what}: the token refuses ({type(wrong).__name__})") from wrong


class Token:
    """A token that is logged in to, by its label."""

    def __init__(self, path: str, label: str, pin: Secret, parameters: str = "", configuration: str = "") -> None:
        self.label, self._path, self._pin, self._lost = label, path, pin, False
        self._found: dict[tuple[ObjectClass, str], Any] = {}
        self._copies: dict[Any, Any] = {}
        self._labels: tuple[str, ...] = ()
        self._library = load(path, parameters, configuration)
        with translated(f"token {label}"):
            self.session = self._login(pin)

    @property
    def session(self) -> Any:
        """The session that is logged in."""
        return self._session

    @session.setter
    def session(self, made: Any) -> None:
        self._session = made
        self._found.clear()  # no handle outlives the session in which it was found
        self._copies.clear()

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """`translated`, and a note of a token that was lost meanwhile."""
        try:
            with translated(what):
                yield
        except HsmGone:
            self._lost = True
            raise

    def revive(self) -> bool:
        """Logs in anew if the token was lost; whether it was: no handle of before is worth anything then."""
        if not self._lost:
            return False
        with translated(f"token {self.label}"):
            with suppress(exceptions.PKCS11Error):
                self.session.close()
            self.session = self._login(self._pin)
        self._lost = False
        return True

    def restart(self) -> None:
        """Starts the module anew and logs in again: no handle of before is worth anything then."""
        with translated(f"token {self.label}"):
            self._lost = True  # until the login has worked
            with suppress(exceptions.PKCS11Error):
                self.session.close()
            restart(self._path, self._library)
            self.session = self._login(self._pin)
        self._lost = False

    def _login(self, pin: Secret) -> Any:
        for attempt in range(_LOGINS):
            try:
                found = next(iter(self._library.get_tokens(token_label=self.label)), None)
                if found is None:
                    raise exceptions.NoSuchToken
                return _logged_in(found, pin)
            except exceptions.GeneralError:
                if attempt == _LOGINS - 1:
                    raise
        raise AssertionError("a login ends in a session or an error")

    @property
    def bounded(self) -> bool:
        """Whether a key can be bound to its mechanisms: NSS's database has no place for that."""
        return "Mozilla" not in self._library.manufacturer_id

    @property
    def private_key_wrap(self) -> Mechanism:
        """RFC 5649 by the name that this module has for it: 210A is something else in NSS."""
        return Mechanism.AES_KEY_WRAP_PAD if self.bounded else Mechanism.AES_KEY_WRAP_KWP

    def blame(self, wrong: exceptions.PKCS11Error, data: T) -> T:
        """The error `data`, if the token lives and it was the data that it refused; raises `wrong` otherwise.

        SoftHSM2 answers a general error to a ciphertext that does not open, and to much else.
        """
        if isinstance(wrong, (*_PIN, *_FULL)) or (
            isinstance(wrong, _GONE) and not isinstance(wrong, exceptions.GeneralError)
        ):
            raise wrong
        self.session.generate_random(64)
        return data

    def find(self, kind: ObjectClass, label: str) -> Any | None:
        """The object of that class and label, or None; `VaultError` if there are two.

        What was found is kept: a search takes as long as a derivation. `seen` tells of other processes' changes.
        """
        known = self._found.get((kind, label))
        if known is not None:
            return known
        found = self.objects({Attribute.CLASS: kind, Attribute.LABEL: label})
        if len(found) > 1:
            raise VaultError(f"token {self.label}: two objects are called {label!r}")
        if found:
            self._found[kind, label] = found[0]
        return found[0] if found else None

    def ready(self, found: Any) -> Any:
        """The object to work with: the one that was found, or in NSS a copy in the session, with the same attributes.

        NSS opens its database, and derives a key from the PIN, at every use of a key that lasts: 1 ms each time.
        """
        if self.bounded:
            return found
        if found not in self._copies:
            self._copies[found] = found.copy({Attribute.TOKEN: False, Attribute.LABEL: _COPY})
        return self._copies[found]

    def seen(self, labels: tuple[str, ...]) -> None:
        """Forgets what was found, if the labels in the token are others than the last time."""
        if labels != self._labels:
            self._labels = labels
            self._forget()

    def destroy(self, one: Any) -> None:
        """Destroys an object that lasts, and what was copied from any."""
        self._forget()
        one.destroy()

    def _forget(self) -> None:
        """Forgets what was found; no copy outlives that."""
        copies = list(self._copies.values())
        self._found.clear()
        self._copies.clear()
        for each in copies:
            each.destroy()

    def labels(self, kind: ObjectClass) -> tuple[str, ...]:
        """The labels of all objects of a class."""
        return tuple(one[Attribute.LABEL] for one in self.objects({Attribute.CLASS: kind}))

    def objects(self, template: dict[Attribute, Any]) -> list[Any]:
        """Every object that fits, the search ended: one that is left open is in the way of the next."""
        return list(self.session.get_objects(template))


def destroyed_after(objects: list[Any], work: Callable[[], T]) -> T:
    """The work's result; these session objects are destroyed, however it ends."""
    try:
        return work()
    finally:
        for one in objects:
            one.destroy()


def _logged_in(token: Any, pin: Secret) -> Any:
    """A session that is logged in; one login counts for a whole process."""
    try:
        return token.open(rw=True, user_pin=pin.reveal().decode())
    except exceptions.UserAlreadyLoggedIn:
        return token.open(rw=True)
