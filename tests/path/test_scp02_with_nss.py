"""Cards of SCP02 on the real parts, the access server's keys in an NSS database: station, kiosk, pcscd, two factories.

The KMS keeps its keys in its own file here, so what it releases goes from one kind of vault to the other.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.demo.stage import Stage
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import Method
from kioskd.private_file import write_private
from kioskd.secret import Secret
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.vault.contract.keepers import NSS

pytestmark = [pytest.mark.pcscd]

PROFILE = Path(__file__).parents[2] / "config" / "profiles" / "20-scp02-i55.yaml"
PIN = b"1234-user"
MASTER = Secret(bytes(range(0x10, 0x20)))
FIXED = tuple(bytes(range(start, start + 16)) for start in (0x40, 0x60, 0xA0))
SET_PIN = (
    "import sys; from kioskd.edges.pkcs11.open_vault import set_first_pin; from kioskd.secret import Secret; "
    "set_first_pin(sys.argv[1], 'kioskd NSS', Secret(b''), Secret(sys.argv[2].encode()), sys.argv[3])"
)


class NssStage(Stage):
    """An installation whose access server has its keys in an NSS database."""

    @property
    def parameters(self) -> str:
        """What NSS is started with."""
        return (
            f"configDir='sql:{self.folder}/nss' certPrefix='' keyPrefix='' secmod='secmod.db' "
            "dbTokenDescription='kioskd NSS'"
        )

    def make_database(self) -> None:
        """A new database with its PIN."""
        (self.folder / "nss").mkdir(mode=0o700)
        write_private(self.folder / "nss.pin", PIN + b"\n")
        command = [sys.executable, "-c", SET_PIN, NSS, PIN.decode(), self.parameters]
        subprocess.run(command, check=True, timeout=60)

    def _vault_section(self) -> str:
        return (
            f"  token:\n    module: {NSS}\n    label: kioskd NSS\n    pin: {self.folder}/nss.pin\n"
            f'    parameters: "{self.parameters}"\n'
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NssStage]:
    """Two profiles: cards of a fixed 3DES factory set (i=15), and cards of a diversified one (i=55)."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with NssStage(tmp_path_factory.mktemp("n") / "s", rsa_bits=2048) as opened:
        (opened.folder / "profiles").mkdir()
        for i, factory in ((0x15, "fixed"), (0x55, "batch")):
            text = PROFILE.read_text().replace("gp-scp02-i55", f"gp-scp02-i{i:02x}").replace("0x55", f"0x{i:02X}")
            (opened.folder / "profiles" / f"{i:02x}.yaml").write_text(f"{text}factory_set: {factory}\n")
        access = opened.folder / "access.yaml"
        access.write_text(access.read_text() + f"profiles: {opened.folder}/profiles\n")
        for name in ("kiosk", "station"):
            config = opened.folder / f"{name}.yaml"
            config.write_text(config.read_text() + 'policy: {level: "03"}\n')
        opened.make_database()
        opened.make_keys()
        keys = "".join(f"{role} {key.hex()}\n" for role, key in zip(("ENC", "MAC", "DEK"), FIXED, strict=True))
        for name, text in (
            ("fixed", f"ALGORITHM 3DES\n{keys}"),
            ("batch", f"DIVERSIFIED visa2\nMASTER {MASTER.reveal().hex()}\n"),
        ):
            write_private(opened.folder / f"{name}.keys", text.encode())
            told = opened.access("factory", name, "--factory-keys", str(opened.folder / f"{name}.keys"))
            assert f"factory set '{name}' is kept" in told
        opened.start_access()
        for name in ("kiosk", "station"):
            opened.start_terminal(name)
        yield opened


def card_of(stage: Stage, name: str, i: int, factory: tuple[bytes, ...] | None) -> VirtualCard:
    """A card from its factory; with no keys: diversified."""
    card = VirtualCard(stage.folder / f"{name}.json", CardOptions(serial=os.urandom(4), scp=2, scp_i=i))
    made = diversified(Method.VISA2, MASTER, card.options.diversification)
    enc, mac, dek = factory or tuple(key.reveal() for key in made)
    known = card.memory.at(0xFF)
    assert known is not None
    card.memory = card.memory.having(replace(known, enc=enc, mac=mac, dek=dek))
    return card


def test_cards_of_both_factories_are_issued_and_replaced_with_the_keys_in_the_token(stage: NssStage) -> None:
    cards = {"fixed": card_of(stage, "fixed", 0x15, FIXED), "batch": card_of(stage, "batch", 0x55, None)}
    for name, card in cards.items():
        assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued", name
        assert card.kvns == {0x2E, 0x21}, name
    stage.kms("generate")
    stage.release("replace", generation=2)
    for name, card in cards.items():
        assert stage.tap(stage.holder(card, "kiosk"), "kiosk")["outcome"] == "done", name
        assert card.kvns == {0x2E, 0x22}, name
        assert stage.tap(stage.holder(card, "kiosk"), "kiosk")["outcome"] == "already-done", name
