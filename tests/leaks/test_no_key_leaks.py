"""After a whole story, no key of the card is anywhere but in the card and, sealed, in the vaults."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.demo.softhsm import SoftHsm
from kioskd.demo.stage import Stage
from kioskd.kiosk.status_words import table
from kioskd.virtual.card import Tear
from tests.vault.contract.keepers import softhsm_configuration

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

INPUTS = ("factory.keys", "card.json")
"""The one file that brings the factory set in, and the card's own memory."""


def spellings(key: bytes) -> Iterator[bytes]:
    """A key as it might be written: raw, hex, and base64 at each of its three alignments."""
    yield key
    yield key.hex().encode()
    yield key.hex().upper().encode()
    yield ":".join(f"{one:02x}" for one in key).encode()
    for lead in range(3):
        whole = base64.b64encode(bytes(lead) + key)
        # The characters that hold bits of the key alone: those at the seams depend on the neighbours.
        inner = whole[(8 * lead + 5) // 6 : 8 * (lead + len(key)) // 6]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
    yield json.dumps(list(key)).encode()
    yield repr(key)[2:-1].encode()


def found_in(texts: dict[str, bytes], keys: set[bytes]) -> list[str]:
    """Where a key stands; names of places only."""
    needles = [one for key in keys for one in spellings(key)]
    return [place for place, text in texts.items() if any(needle in text for needle in needles)]


@pytest.mark.parametrize("place", [b"x%sy", b"xx%sy", b"xxx%s"])
@pytest.mark.parametrize("write", [bytes.hex, lambda key: base64.b64encode(key).decode(), lambda key: str(list(key))])
def test_the_search_finds_a_key_that_was_written_down(place: bytes, write: object) -> None:
    assert callable(write)
    key = bytes(range(100, 116))
    written = place.replace(b"%s", write(key).encode())
    assert found_in({"log": written}, {key}) == ["log"]
    inside = base64.b64encode(place.replace(b"%s", key))
    assert found_in({"log": inside}, {key}) == ["log"]


@pytest.mark.parametrize("vault", ["software", "softhsm2"])
def test_no_key_of_the_card_is_in_logs_journals_store_status_or_output(tmp_path: Path, vault: str) -> None:
    hsm = SoftHsm(Path(softhsm_configuration())) if vault == "softhsm2" else None
    with Stage(tmp_path / "s", hsm=hsm) as stage:
        stage.make_keys()
        stage.start_access()
        stage.start_terminal("station")
        card, printed = stage.new_card(), []
        keys = set(card.key_values())
        assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued"
        keys |= set(card.key_values())
        stage.kms("generate")
        printed.append(stage.release("replace", generation=2))
        stage.start_terminal("kiosk")
        hand = stage.holder(card, "kiosk")
        card.tear(Tear.AFTER, 0xD8)
        assert stage.tap(hand, "kiosk")["outcome"] == "card-pulled-in-doubt"
        keys |= set(card.key_values())
        assert stage.tap(hand, "kiosk")["outcome"] == "done"
        keys |= set(card.key_values())
        assert len(keys) == 1 + 3 + 3 + 3  # factory, generation 1, KRK, generation 2

        texts = {"output": "".join(printed).encode()}
        for name in ("kiosk", "station", "access"):
            told = stage.roles.status(name)
            assert told is not None
            texts[f"status of {name}"] = json.dumps(told).encode()
            for part in ("cmdline", "environ"):
                texts[f"{part} of {name}"] = Path(f"/proc/{stage.roles.pid(name)}/{part}").read_bytes()
        told = stage.roles.status("kiosk")
        assert told is not None
        texts["kioskctl"] = "\n".join(table(told)).encode()
        texts["kms list"] = stage.kms("list").encode()
        if hsm is not None:
            tokens = hsm.configuration.parent / "tokens"
            texts |= {f"token {file.name}": file.read_bytes() for file in tokens.rglob("*") if file.is_file()}
        files = [file for file in stage.folder.rglob("*") if file.is_file() and file.name not in INPUTS]
        texts |= {str(file.relative_to(stage.folder)): file.read_bytes() for file in files}
        vaults = ("access.vault", "kms.vault") if hsm is None else ()
        for wanted in ("log/kiosk.log", "log/access.log", "kiosk.journal", "access.db", "kms.transcript", *vaults):
            assert len(texts[wanted]) > 0, wanted
        assert found_in(texts, keys) == []
        assert found_in({"card": (stage.folder / "card.json").read_bytes()}, keys) == ["card"]
