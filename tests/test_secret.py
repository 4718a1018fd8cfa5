"""A Secret gives its bytes to nobody who does not ask by name."""

import copy
import json
import logging
import pickle
from dataclasses import dataclass

import pytest

from kioskd.secret import Secret
from kioskd.shape import to_plain

VALUE = bytes.fromhex("C0FFEE00C0FFEE00C0FFEE00C0FFEE00")
SECRET = Secret(VALUE)


@dataclass(frozen=True, slots=True)
class Holder:
    """Something with a secret in it."""

    name: str
    secret: Secret


def tells(text: str) -> bool:
    """Whether the value can be found in a text, as hex or as Python writes bytes."""
    return any(form in text.lower() for form in (VALUE.hex(), "c0ffee", str(VALUE)[2:-1].lower()))


def test_what_looks_for_the_value_would_find_it() -> None:
    assert tells(repr(VALUE)) and tells(VALUE.hex().upper())


def test_a_secret_does_not_print() -> None:
    shown = [repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!s:>40}", "%s %r" % (SECRET, SECRET)]  # noqa: UP031
    shown += [repr([SECRET]), repr(Holder("a", SECRET))]
    assert not any(tells(one) for one in shown)
    assert "16 bytes" in repr(SECRET)


def test_a_secret_does_not_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger(__name__).info("a key: %s, a holder: %r", SECRET, Holder("a", SECRET))
    assert "16 bytes" in caplog.text
    assert not tells(caplog.text)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_does_not_pickle(protocol: int) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(SECRET, protocol)
    with pytest.raises(TypeError):
        pickle.dumps(Holder("a", SECRET), protocol)


def test_a_secret_is_not_copied_unseen() -> None:
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(SECRET)


def test_a_secret_does_not_hash() -> None:
    with pytest.raises(TypeError):
        hash(SECRET)
    with pytest.raises(TypeError):
        {SECRET}  # noqa: B018


def test_a_secret_does_not_become_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(to_plain(Holder("a", SECRET)))


def test_a_secret_has_no_attributes_to_list() -> None:
    assert not hasattr(SECRET, "__dict__")
    with pytest.raises(TypeError):
        vars(SECRET)


def test_a_secret_is_not_bytes() -> None:
    with pytest.raises(TypeError):
        bytes(SECRET)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        b"" + SECRET  # type: ignore[operator]


def test_secrets_are_equal_by_value_and_never_to_plain_bytes() -> None:
    same, other, shorter = Secret(bytes(bytearray(VALUE))), Secret(VALUE[:-1] + b"\x01"), Secret(VALUE[:-1])
    assert same == SECRET
    assert SECRET not in (other, shorter)
    assert SECRET != VALUE
    assert VALUE != SECRET


def test_a_secret_gives_its_bytes_to_who_asks() -> None:
    assert SECRET.reveal() == VALUE
    assert len(SECRET) == 16
