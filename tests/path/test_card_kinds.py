"""Other kinds of cards on the real parts: pcscd, station, kiosk, access server, each card of its own profile."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.demo.stage import Stage
from kioskd.edges.profile_file import load_profile
from kioskd.gp.isd import AES_TYPE, DES_TYPE
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.registry import SecurityDomain
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions

pytestmark = [pytest.mark.pcscd]

SHIPPED = Path(__file__).parents[2] / "config" / "profiles"
DES = {"scp": 2, "scp_i": 0x55}
MANY = tuple(KeyEntry(kid, kvn, ((0x88, 16),)) for kvn in range(1, 11) for kid in range(1, 6))  # 300 bytes and more
DOMAINS = tuple(SecurityDomain(bytes.fromhex(f"A0000001515350{one:02X}"), 0x0F, b"\x80\x40\x00") for one in (1, 2))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An installation whose access server knows the shipped profiles; executive cards come first there."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with Stage(tmp_path_factory.mktemp("k") / "s", rsa_bits=2048) as opened:
        profiles = opened.folder / "profiles"
        profiles.mkdir()
        for file in SHIPPED.glob("*.yaml"):
            asks = "list_domains: true\n" if file.name.startswith("10-") else ""
            (profiles / file.name).write_text(file.read_text() + asks)
        # A card that speaks both protocols is of the first profile of either.
        both = (profiles / "20-scp02-i55.yaml").rename(profiles / "04-scp02-i55.yaml")
        both.write_text(both.read_text() + "migrates: {i: 0x70}\n")
        access = opened.folder / "access.yaml"
        access.write_text(access.read_text() + f"profiles: {profiles}\n")
        for name in ("kiosk", "station"):
            config = opened.folder / f"{name}.yaml"
            policy = 'policy: {level: "03", executive: true, aids: ["A000000151000000", "A0000001510000"]}\n'
            config.write_text(config.read_text() + policy)
        opened.make_keys()
        opened.start_access()
        for name in ("kiosk", "station"):
            opened.start_terminal(name)
        yield opened


def card_of(stage: Stage, name: str, **options: object) -> VirtualCard:
    """A card from the factory."""
    made = CardOptions(serial=os.urandom(4), **options)  # type: ignore[arg-type]
    return VirtualCard(stage.folder / f"{name}.json", made)


def use(stage: Stage, *first: str) -> None:
    """The server is started anew with these profiles before the others."""
    folder = stage.folder / "profiles"
    for file in folder.glob("00-*.yaml"):
        file.unlink()
    for number, name in enumerate(first):
        text = (SHIPPED / f"{name}.yaml").read_text()
        anyone = "\n".join("match: {scp: 3}" if line.startswith("match:") else line for line in text.splitlines())
        (folder / f"00-{number}.yaml").write_text(anyone + "\n")
        (folder / f"{name}.yaml").unlink(missing_ok=True)
    stage.roles.stop("access")
    stage.start_access()
    for name in ("kiosk", "station"):
        stage.roles.stop(name)
        stage.start_terminal(name)


def test_cards_of_every_kind_are_issued_and_replaced(stage: Stage) -> None:
    cards = {"aes": card_of(stage, "aes", others=MANY, domains=DOMAINS, page=1), "des": card_of(stage, "des", **DES)}
    cards["des-to-aes"] = card_of(stage, "des-to-aes", also_aes=True, **DES)
    for name, card in cards.items():
        assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued", name
    use(stage, "30-executive")
    cards["executive"] = card_of(stage, "executive", executive=True)
    assert stage.tap(stage.holder(cards["executive"], "station"), "station")["outcome"] == "issued"
    use(stage, "31-quarantined", "30-executive")
    cards["locked"] = card_of(stage, "locked")
    assert stage.tap(stage.holder(cards["locked"], "station"), "station")["outcome"] == "issued"
    assert cards["locked"].memory.life_cycle is LifeCycle.CARD_LOCKED
    assert cards["executive"].memory.sealed
    stage.kms("generate")
    stage.release("replace", generation=2)
    for name, card in cards.items():
        before = card.kvns
        expected = "not-migrated" if name == "des" else "done"
        assert stage.tap(stage.holder(card, "kiosk"), "kiosk")["outcome"] == expected, name
        assert card.kvns != before and len(card.kvns) == 2, name
    assert cards["locked"].memory.life_cycle is LifeCycle.CARD_LOCKED
    kinds = {name: {one.kind for one in cards[name].memory.sets} for name in ("des", "des-to-aes")}
    assert kinds == {"des": {DES_TYPE}, "des-to-aes": {DES_TYPE, AES_TYPE}}

    blocked = cards["aes"]
    number = blocked.options.cplc_data()
    card_id = f"cplc:{(number[0:4] + number[16:18] + number[12:16]).hex().upper()}"
    told = stage.access("domains", card_id)
    assert "A000000151535001" in told and "A000000151535002" in told and "authorized management" in told
    assert "is refused" in stage.access("block", card_id, "--reason", "reported stolen")
    assert "reported stolen" in stage.access("blocked")
    assert stage.tap(stage.holder(blocked, "kiosk"), "kiosk")["outcome"] == "card-blocked"
    stage.access("unblock", card_id[-8:])
    assert stage.tap(stage.holder(blocked, "kiosk"), "kiosk")["outcome"] == "already-done"


def test_a_card_is_probed_and_its_profile_written(stage: Stage) -> None:
    stage.roles.stop("station")
    hand = stage.holder(card_of(stage, "probed", t0=True, **DES), "station")
    hand.insert()
    try:
        out = stage.folder / "probed.yaml"
        words = stage.pcscd.slots[1].name
        told = stage.roles.run("profile", "probe", "--reader", words, "--out", str(out))
    finally:
        hand.pull()
    assert "SCP02 with 3DES-128, level 03" in told
    made = load_profile(out)
    assert (made.scp, made.match.scp, made.factory_kvn) == (2, 2, 0xFF)
    assert made.match.atr.startswith("3B")
