"""Frozen dataclasses to plain JSON or YAML values and back, strictly.

One codec serves the wire, the records and the configuration: an unknown key, a missing key or a wrong type is a
`ShapeError` that names the place. Bytes travel as upper-case hex, tuples as lists, enums by value.
"""

import dataclasses
import functools
import itertools
import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kioskd.errors import Malformed

T = TypeVar("T")


class ShapeError(Malformed):
    """A value does not have the shape of its type."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path or 'value'}: {reason}")
        self.path = path
        self.reason = reason

    def below(self, place: str) -> "ShapeError":
        """The same error, seen from where the value is part of something."""
        dot = "." if place and self.path and not self.path.startswith("[") else ""
        return ShapeError(f"{place}{dot}{self.path}", self.reason)


def to_plain(value: Any) -> Any:
    """The dataclass `value` as dicts, lists, strings and numbers, ready for JSON."""
    kind: Any = type(value)
    names = _field_names(kind)
    if names is not None:
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def from_plain(kind: type[T], plain: Any, path: str = "") -> T:
    """A `kind` from plain values; `ShapeError` names the first place that does not fit."""
    cached: Any = kind
    try:
        made: T = _builder(cached)(plain)
    except ShapeError as wrong:
        raise wrong.below(path) from wrong
    return made


Builder = Callable[[Any], Any]
"""Makes one value of one type; a `ShapeError` of it names the place below that value."""


@functools.cache
def _builder(kind: Any) -> Builder:
    """The builder of a type, made once: a message has hundreds of values, and a tap many messages."""
    origin = get_origin(kind)
    if hasattr(kind, "__supertype__"):  # NewType
        return _builder(kind.__supertype__)
    if origin in (Union, types.UnionType):
        return _optional_builder(kind)
    if origin is tuple:
        return _tuple_builder(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record_builder(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum_builder(kind)
    if kind not in _SCALARS:
        raise TypeError(f"{kind!r} has no plain form")  # our own bug: a field of a type that this codec does not know
    return _SCALARS[kind]


def _optional_builder(kind: Any) -> Builder:
    build = _builder(next(option for option in get_args(kind) if option is not type(None)))
    return lambda plain: None if plain is None else build(plain)


def _tuple_builder(kind: Any) -> Builder:
    args = get_args(kind)
    if len(args) == 2 and args[1] is Ellipsis:
        same = _builder(args[0])
        return lambda plain: tuple(_items(plain, itertools.repeat(same)))
    builders = tuple(_builder(arg) for arg in args)

    def build(plain: Any) -> Any:
        if isinstance(plain, (list, tuple)) and len(plain) != len(builders):
            raise ShapeError("", f"needs {len(builders)} items, not {len(plain)}")
        return tuple(_items(plain, builders))

    return build


def _items(plain: Any, builders: Iterable[Builder]) -> Iterator[Any]:
    if not isinstance(plain, (list, tuple)):
        raise ShapeError("", f"needs a list, not {_called(plain)}")
    for number, (build, item) in enumerate(zip(builders, plain, strict=False)):
        try:
            yield build(item)
        except ShapeError as wrong:
            raise wrong.below(f"[{number}]") from wrong


def _record_builder(kind: type) -> Builder:
    hints = get_type_hints(kind)
    builders = {field.name: _builder(hints[field.name]) for field in dataclasses.fields(kind) if field.init}
    missing = dataclasses.MISSING
    needed = [field.name for field in dataclasses.fields(kind) if field.default is field.default_factory is missing]

    def build(plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            raise ShapeError("", f"needs a group of keys, not {_called(plain)}")
        for key in plain:
            if key not in builders:
                raise ShapeError(str(key), f"unknown key; known here: {', '.join(builders)}")
        values = {}
        for name, build_one in builders.items():
            if name in plain:
                try:
                    values[name] = build_one(plain[name])
                except ShapeError as wrong:
                    raise wrong.below(name) from wrong
            elif name in needed:
                raise ShapeError(name, "is missing")
        try:
            return kind(**values)
        except ValueError as wrong:
            raise ShapeError("", str(wrong)) from wrong

    return build


def _enum_builder(kind: type[Enum]) -> Builder:
    def build(plain: Any) -> Any:
        try:
            return kind(plain)
        except ValueError as wrong:
            raise ShapeError("", f"needs one of {', '.join(str(item.value) for item in kind)}") from wrong

    return build


def _bytes(plain: Any) -> bytes:
    if not isinstance(plain, str) or _HEX.fullmatch(plain) is None:
        raise ShapeError("", f"needs hex digits, not {_called(plain)}")
    return bytes.fromhex(plain)


def _text(plain: Any) -> str:
    if type(plain) is not str:
        _refuse("text", plain)
    elif not plain.isascii() and any("\ud800" <= one <= "\udfff" for one in plain):
        raise ShapeError("", "has half a character")
    return str(plain)


def _float(plain: Any) -> Any:
    if type(plain) is int:
        return float(plain)
    return plain if type(plain) is float else _refuse("a number", plain)


_HEX = re.compile("(?:[0-9A-Fa-f]{2})*")
_SCALARS: Mapping[Any, Builder] = {
    bytes: _bytes,
    str: _text,
    float: _float,
    int: lambda plain: plain if type(plain) is int else _refuse("a whole number", plain),
    bool: lambda plain: plain if type(plain) is bool else _refuse("true or false", plain),
}


def _refuse(wanted: str, plain: Any) -> Any:
    raise ShapeError("", f"needs {wanted}, not {_called(plain)}")


def _called(plain: Any) -> str:
    """What a value is, in words, without its content (it may be a secret in the wrong place)."""
    names = {int: "a number", float: "a number", str: "text", bool: "true or false", list: "a list", dict: "a group"}
    return "nothing" if plain is None else names.get(type(plain), type(plain).__name__)


def compact(value: Any) -> bytes:
    """The one way in which a dataclass is written where its bytes are hashed or signed: sorted keys, no spaces."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
