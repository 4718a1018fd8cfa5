"""A byte string that does not print, log, hash or pickle."""

from hmac import compare_digest
from typing import NoReturn


class Secret:
    """Key material in memory; `reveal` is the only way to its bytes, so that searching for it is the audit.

    Python cannot promise that the bytes are wiped when the object dies.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return f"<Secret {len(self._value)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not pickle")
