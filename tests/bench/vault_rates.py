"""One process's rate of issuances and replacements at a vault: `python -m tests.bench.vault_rates KIND PAIR SECONDS`.

The verbs are those that the engine calls for one card, with a card's end of the channel behind them, whose time is
taken off. A third pass
counts the time inside the token's calls. The floor is what no implementation can do without: for a replacement one
recovery by the same provider (OAEP or ECDH), for an issuance one minting.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import delete_key, get_data, put_key
from kioskd.gp.keys import KVN
from kioskd.ports import KeptVault
from kioskd.rekey.asks import KeyHandle, WrappedScript
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.labels import KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.derivation import krk_values, master_values
from tests.hsm.faulty import Fate, Watched
from tests.hsm.houses import KRKDB, MKDB, P256, bring, empty_vault, opened_rnd
from tests.vault.contract.keepers import HOST
from tests.vault.contract.test_vault_contract import Chip

T = TypeVar("T")
SLICES = 6
CARD = CardId("cplc", b"0123456789")
KRK = KeyLabel("KRK", 1, 1, "gp-scp03-aes128", 0x3E, CARD)
MASTER = KeyLabel("MK", 2, 2, "gp-scp03-aes128", 0x32, CARD)


class Timed(Fate):
    """Counts the seconds inside the token's calls."""

    inside = 0.0

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        """One call, timed."""
        began = time.perf_counter()
        try:
            return self.wrapped(work())
        finally:
            self.inside += time.perf_counter() - began


class Card(Chip):
    """The card's end: the time that it takes is not the vault's."""

    spent = 0.0

    def greet(self) -> bytes:
        """Its answer to INITIALIZE UPDATE."""
        return self._timed(lambda: Chip.greet(self))

    def run(self, script: WrappedScript) -> tuple[list[CommandAPDU], list[ResponseAPDU]]:
        """What it makes of a script."""
        return self._timed(lambda: Chip.run(self, script))

    @staticmethod
    def _timed(work: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            Card.spent += time.perf_counter() - began


class Bench:
    """One vault with the known keys, and one card's end of two channels."""

    def __init__(self, kind: str, pair: str) -> None:
        self.pair = pair
        folder = Path(tempfile.mkdtemp())
        self.issuer = empty_vault(kind, folder / "i")
        bring(self.issuer, BundlePurpose.ISSUE, 1, pair)
        handle, self.cryptogram = self.issuer.mint_krk(KRK)
        self.issuer.forget((handle,))
        rnd, point = Secret(opened_rnd(self.cryptogram.value, pair)), self.cryptogram.value if pair == P256 else b""
        self.values = krk_values(Secret(KRKDB), rnd, replace(KRK, point=point))
        self.krk = Card(tuple(one.reveal() for one in self.values), 0x3E)
        master = master_values(Secret(MKDB[2]), MASTER)
        self.master = Card(tuple(one.reveal() for one in master), 0x32)
        self.factory = Card((b"E" * 16, b"M" * 16, b"D" * 16))

    def arm(self) -> None:
        """From issuing to replacing: for ever."""
        bring(self.issuer, BundlePurpose.REPLACE, 2, self.pair)

    def replacement(self) -> None:
        """All that a vault does for one replacement."""
        vault = self.issuer
        krk = vault.recover_krk(self.cryptogram, KRK)
        answer = self.krk.greet()
        assert vault.proves(krk, HOST, answer)
        channel = vault.open_channel(krk, HOST, answer, 0x33)
        new = vault.derive_master(MASTER)
        fields = vault.wrap_key_set(channel, new)
        commands = (delete_key(KVN(0x31)), put_key(KVN(0x32), fields), get_data(0xE0))
        script = vault.wrap_commands(channel, commands)
        _, answers = self.krk.run(script)
        vault.unwrap_responses(script.sealed, script.marks, tuple(answers))
        proven = vault.derive_master(MASTER)
        assert vault.proves(proven, HOST, self.master.greet())
        vault.forget((krk, channel, new, proven))

    def issuance(self) -> None:
        """All that a vault does for one issuance: two scripts under the factory set, one under the master."""
        vault, answer = self.issuer, self.factory.greet()
        handles: list[int] = []
        makes: tuple[Callable[[], KeyHandle], ...] = (
            lambda: vault.derive_master(_at(MASTER, 1)),
            lambda: vault.mint_krk(KRK)[0],
        )
        for make in makes:
            factory = vault.factory_set("factory")
            assert vault.proves(factory, HOST, answer)
            channel = vault.open_channel(factory, HOST, answer, 0x33)
            new = make()
            script = vault.wrap_commands(channel, (put_key(KVN(0x31), vault.wrap_key_set(channel, new)),))
            _, answers = self.factory.run(script)
            vault.unwrap_responses(script.sealed, script.marks, tuple(answers))
            vault.proves(new, HOST, answer)
            handles += [factory, channel, new]
        vault.forget(tuple(handles))


def _at(label: KeyLabel, generation: int) -> KeyLabel:
    return KeyLabel(label.kind, generation, label.install, label.profile, label.kvn, label.card)


def rate(work: Callable[[], None], seconds: float) -> float:
    """How often a second, without the card's own time: in the best of six slices, for whatever disturbs only slows."""
    work()
    return max(_slice(work, seconds / SLICES) for _ in range(SLICES))


def _slice(work: Callable[[], None], seconds: float) -> float:
    Card.spent, began, count = 0.0, time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began - Card.spent)


def share(vault: KeptVault, work: Callable[[], None], runs: int = 40) -> float:
    """The part of the time that passes inside the token's calls; 0 for the software vault."""
    if not isinstance(vault, TokenVault):
        return 0.0
    timed, real = Timed(), vault._token.session
    vault._token.session = Watched(timed, real)
    began = time.perf_counter()
    for _ in range(runs):
        work()
    whole = time.perf_counter() - began
    vault._token.session = real
    return timed.inside / whole


def main(kind: str, pair: str, seconds: float) -> dict[str, float]:
    """The figures of one process."""
    bench = Bench(kind, pair)
    found = {"issuances": rate(bench.issuance, seconds), "issuing share": share(bench.issuer, bench.issuance)}
    found["floor issuances"] = rate(lambda: bench.issuer.forget((bench.issuer.mint_krk(KRK)[0],)), seconds / 2)
    bench.arm()
    floor = rate(lambda: bench.issuer.forget((bench.issuer.recover_krk(bench.cryptogram, KRK),)), seconds / 2)
    replacing = {
        "replacements": rate(bench.replacement, seconds),
        "replacing share": share(bench.issuer, bench.replacement),
    }
    return found | replacing | {"floor replacements": floor}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2], float(sys.argv[3])), sys.stdout)
