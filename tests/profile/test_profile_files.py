"""Profile files: the shipped ones are usable, a wrong one gets one sentence, and a probed card writes its own."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.edges.profile_file import load_profile, load_profiles
from kioskd.errors import BadConfiguration
from kioskd.gp.card_data import SecureChannel
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import AES_TYPE, DES_TYPE, ISD_AID
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.profile.cli import main
from kioskd.rekey.facts import Facts
from kioskd.rekey.probe import probed
from kioskd.rekey.profile import FactoryHabit, Lock, Match, Operation, Order, Profile
from kioskd.rekey.profile_choice import hidden
from kioskd.rekey.records import Registered
from kioskd.virtual.card_options import CardOptions
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, tap

DES_CARD = (
    "scp: 2\nalgorithm: 3DES\nlevel: 0x13\nkey_length_sent: false\n"
    "krk_kvn: 0x2E\nother_krk_kvn: 0x2F\nfirst_master_kvn: 0x20\n"
)
SHIPPED = sorted((Path(__file__).parents[2] / "config" / "profiles").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    """A profile's file."""
    file = folder / "card.yaml"
    file.write_text(text)
    return file


def test_no_shipped_profile_is_hidden_behind_another() -> None:
    profiles = load_profiles(str(SHIPPED[0].parent))
    assert hidden(profiles) == ()
    executive = next(one for one in profiles if one.lock is Lock.EXECUTIVE)
    others = tuple(one for one in profiles if one is not executive)
    executive = dataclasses.replace(executive, match=Match(scp=3))
    assert hidden((*others, executive)) == ((executive.name, "gp-scp03-aes128"),)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_profile_can_be_issued_and_replaced(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    told = capsys.readouterr().out
    assert "issue    yes" in told and "replace  yes" in told
    assert load_profile(file).source


def test_the_shipped_profiles_are_a_servers_folder() -> None:
    profiles = load_profiles(str(SHIPPED[0].parent))
    assert [one.name for one in profiles] == [load_profile(file).name for file in SHIPPED]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slots: 2\norder: install-first", "install-first needs a third slot, the card has two"),
        ("order: renumber\nrenumbers: false", "the card does not change a key version number"),
        ("deletes: false", "the card has no DELETE of keys"),
        ("level: 0x03\nlock: lifecycle", "nothing would show that the card was locked again"),
    ],
)
def test_a_profile_whose_cards_cannot_be_finished_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    assert main(["check", str(written(tmp_path, text))]) == 2
    said = capsys.readouterr()
    assert words in said.out and "Traceback" not in said.err
    assert said.err.count("\n") == 1
    with pytest.raises(BadConfiguration, match="could not be replaced"):
        load_profiles(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sloots: 2", "sloots"),
        ("slots: two", "slots"),
        ("order: backwards", "order"),
        ("krk_kvn: 0x30", "overlap"),
        ("krk_kvn: 0x2E", "outside"),
        ("key_bytes: 17", "keys of 17 bytes"),
        ("scp: 1", "protocol 01"),
        ('match: {atr: "("}', "match.atr"),
        ('aid: "00"', "5 to 16 bytes"),
        ("slots: 0", "slots: 0"),
        ('name: ""', "need a word"),
        ("level: 0x34", "no level 34"),
        ("level: 0x00", "no level 00"),
        ("factory_kvn: 0x3E1", "factory_kvn: 3E1"),
        ("adopts: known", "adopts_kvn: 00"),
        ("algorithm: 3DES", "3DES set"),
        ("migrates: {}", "only a card whose sets are of 3DES"),
        ("migrates: scp03", "migrates: needs a group of keys"),
        (f"{DES_CARD}migrates: {{key_bites: 16}}", "migrates.key_bites: unknown key"),
        (f"{DES_CARD}migrates: {{key_bytes: 24}}", "migrates.key_bytes: 24"),
        (f"{DES_CARD}migrates: {{i: 0x71}}", "S16"),
        (f"{DES_CARD}migrates: {{i: 0x10}}", "migrates.i: 10"),
        (f"{DES_CARD}migrates: {{level: 0x03}}", "migrates.level: 03"),
        (f"{DES_CARD}migrates: {{i: 0x20, level: 0x33}}", "i=20 has no level 33"),
        (f"{DES_CARD}deletes: false\nmigrates: {{}}", "needs DELETE of keys"),
        (f"{DES_CARD}lock: executive\nmigrates: {{}}", "not with the executive lock"),
        ("- 1", "card.yaml"),
        ("{", "line"),
    ],
)
def test_a_wrong_file_gets_one_sentence_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    assert main(["check", str(written(tmp_path, text))]) == 2
    said = capsys.readouterr().err
    assert "card.yaml" in said and words in said and said.count("\n") == 1


def test_the_check_says_whether_a_replacement_brings_the_cards_to_aes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(written(tmp_path, f"{DES_CARD}migrates: {{key_bytes: 32, i: 0x60, level: 0x13}}"))]) == 0
    assert "  migrate  yes: to SCP03 with AES-256, level 13" in capsys.readouterr().out
    assert main(["check", str(written(tmp_path, DES_CARD))]) == 0
    assert "  migrate  no\n" in capsys.readouterr().out


def test_a_card_of_both_protocols_is_probed_by_the_keys_of_its_factory_set() -> None:
    both = (SecureChannel(2, b"\x15"), SecureChannel(3, b"\x70"))
    for kind, scp in ((DES_TYPE, 2), (AES_TYPE, 3)):
        keys = KeyInformation(tuple(KeyEntry(kid, 0xFF, ((kind, 16),)) for kid in (1, 2, 3)))
        found = probed(Facts(CardId("cplc", bytes(10)), (), keys, channels=both), ISD_AID, b"")
        assert found.profile.scp == scp
        assert any("migrates: {i: 0x70}" in one for one in found.remarks) is (scp == 2)


def test_two_profiles_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("name: same\n")
    with pytest.raises(BadConfiguration, match=r"two\.yaml: name: same"):
        load_profiles(str(tmp_path))


def test_an_empty_folder_is_no_folder_of_profiles(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="no folder with"):
        load_profiles(str(tmp_path))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)  # the first makes the vaults
@given(
    lock=st.sampled_from(Lock),
    order=st.sampled_from(Order),
    factory=st.sampled_from(FactoryHabit),
    slots=st.integers(2, 4),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_what_a_profile_allows_a_card_of_that_kind_finishes(
    lock: Lock, order: Order, factory: FactoryHabit, slots: int, flags: tuple[bool, bool, bool]
) -> None:
    deletes, renumbers, can_lock = flags
    profile = Profile(
        lock=lock, order=order, factory=factory, slots=slots, deletes=deletes, renumbers=renumbers, can_lock=can_lock
    )
    options = CardOptions(
        slots=slots,
        deletes=deletes,
        renumbers=renumbers,
        executive=lock is Lock.EXECUTIVE,
        factory_drops=factory is FactoryHabit.DROPS,
        factory_fills=factory is FactoryHabit.FILLS,
    )
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    fit = not profile.refuses(Operation.ISSUE)
    assert tap(Kiosk(world, "station"), "issue") == ("issued" if fit else "card-unfit")
    if not fit:
        assert not world.log
        return
    world.assert_finished(1)
    later = world.fork(armed(2))
    fit = not profile.refuses(Operation.REPLACE)
    assert tap(Kiosk(later)) == ("done" if fit else "card-unfit")
    later.assert_finished(2 if fit else 1)


def test_a_known_card_keeps_its_profile_and_is_refused_where_that_is_gone() -> None:
    world = World(issuing(), AttackedCard(options=CardOptions()))
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    registered = next(one for one in world.log if isinstance(one, Registered))
    assert registered.name == world.profile.name
    later = world.fork(armed(2))
    later.profile = dataclasses.replace(later.profile, name="another")
    assert tap(Kiosk(later)) == "card-unfit"


def test_a_shipped_file_says_only_what_differs_from_the_default() -> None:
    usual = dataclasses.asdict(Profile())
    for file in SHIPPED:
        said = yaml.safe_load(file.read_text())
        same = {key for key in set(said) - {"name", "derivation", "proof"} if usual[key] == said[key]}
        assert not same, f"{file.name}: {same}"
