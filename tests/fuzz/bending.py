"""Inputs that are nearly right, for readers of structured text: values of the wrong kind, keys gone, too deep."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

from tests.gp.many import bent

Bend = Callable[[Random, bytes], bytes]

DEEP = 3000
_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 255, 2**31, 2**64, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "zz", "AB", "abc", "00" * 200, "x" * 500, "é", "\x00", "\ud800", "2026-11-30", "../../x", "null", "-1"),
    *([], {}, [[]], [None], {"": None}, [[], {}], {"version": 1}, ["AB"] * 100),
)
_YAML_WORDS = (
    *(
        "&a [*a]",
        "*nobody",
        "!!python/object/apply:os.getpid []",
        "!!binary AAAA",
        "!!set {a, b}",
        "? [a]",
        "<<: {a: 1}",
    ),
    *(
        "[" * DEEP,
        "{a: " * DEEP,
        "- " * DEEP,
        "|\n  text",
        "0x10",
        "1_000",
        "2026-11-30 00:00:00",
        "~",
        "\t",
        "%TAG ! !",
    ),
    "{a: &x [1,1,1,1], b: &y [*x,*x,*x,*x], c: &z [*y,*y,*y,*y], d: [*z,*z,*z,*z]}",
    *("'\\ud800'", '"\\ud800"', "\u2028", "\ufeff", "---\n---", "...", "key: 'open", "a: a: a"),
)


def bytes_of(some: Random, good: bytes) -> bytes:
    """A good message with its bytes bent; longer ones than the card's language has are not cut."""
    if len(good) <= 500:
        return bent(some, good)
    at = some.randrange(len(good))
    return good[:at] + bent(some, good[at : at + 300]) + good[at + 300 :]


def json_of(some: Random, good: bytes) -> bytes:
    """A JSON text with its values bent, or its bytes."""
    match some.randrange(10):
        case 0 | 1 | 2:
            return bytes_of(some, good)
        case 3:
            return (some.choice(("[", '{"a":')) * some.choice((10, 900, 1020, DEEP))).encode()
    return json.dumps(changed(some, json.loads(good)), separators=(",", ":")).encode()


def paper_of(some: Random, good: bytes) -> bytes:
    """The same, in the one way in which papers are written, so that only their values are wrong."""
    if some.random() < 0.4:
        return json_of(some, good)
    plain = changed(some, json.loads(good))
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def yaml_of(some: Random, good: bytes) -> bytes:
    """A YAML text with its values bent, its bytes, or a line that says something else."""
    match some.randrange(4):
        case 0:
            return bytes_of(some, good)
        case 1:
            lines = good.decode().splitlines()
            at = some.randrange(len(lines) + 1)
            word = some.choice(_YAML_WORDS)
            lines[at : at + some.randrange(2)] = [some.choice((word, f"name: {word}", f"  {word}"))]
            return "\n".join(lines).encode("utf-8", "surrogatepass")
    return yaml.safe_dump(_speakable(changed(some, yaml.safe_load(good)))).encode("utf-8", "surrogatepass")


def _speakable(plain: Any) -> Any:
    """Without half characters, which YAML cannot write."""
    return json.loads(json.dumps(plain, default=str).replace("\\ud800", "?"))


def changed(some: Random, plain: Any) -> Any:
    """One to three values replaced, taken out, doubled or put in, anywhere in the tree."""
    for _ in range(some.randint(1, 3)):
        plain = _change(some, plain)
    return plain


def row_of(some: Random, good: bytes) -> bytes:
    """A row, as a list of columns; the JSON in its last one is bent as often as the columns are."""
    columns = json.loads(good)
    if some.random() < 0.5:
        return json_of(some, good)
    return json.dumps([*columns[:-1], json_of(some, columns[-1].encode()).decode("utf-8", "replace")]).encode()


def _change(some: Random, plain: Any) -> Any:
    if isinstance(plain, dict) and plain and some.random() < 0.9:
        key = some.choice(sorted(plain, key=str))
        match some.randrange(8):
            case 0:
                return {name: value for name, value in plain.items() if name != key}
            case 1:
                return {**plain, some.choice(("", "x", "version", "digest", "kind", "é")): some.choice(_JUNK)}
            case 2:
                return {**plain, key: [plain[key]]}
        return {**plain, key: _change(some, plain[key])}
    if isinstance(plain, list) and plain and some.random() < 0.9:
        at = some.randrange(len(plain))
        match some.randrange(6):
            case 0:
                return plain[:at] + plain[at + 1 :]
            case 1:
                return plain * some.choice((2, 20))
        return [*plain[:at], _change(some, plain[at]), *plain[at + 1 :]]
    if isinstance(plain, str) and some.random() < 0.5:
        at = some.randrange(len(plain) + 1)
        return plain[:at] + some.choice(("", "0", "é", "\x00", "Z", plain[:40])) + plain[at + some.randrange(3) :]
    return some.choice(_JUNK)
