"""One replacement through pcscd, TLS and processes, against a floor that is measured in the same run.

Taps and floors take turns, so that whatever else the machine does touches both. Every card is issued beforehand, is
tapped once with no time of its own, and once more, for the next generation, with the time that a real card takes.
"""

import time
from collections.abc import Iterator
from statistics import median

import pytest

from kioskd.demo.softhsm import SoftHsm
from kioskd.virtual.vpcd import Pace
from tests.bench.bench_stage import BenchStage, TapFigures
from tests.bench.results import Target, record, shares, spread

WARM_UP, PAIRS = 3, 20
REAL_CARD = Pace(read_ms=17, write_ms=50)
"""Read times of a contact card with a fast chip; a slower one only makes our part smaller."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchStage]:
    with BenchStage(tmp_path_factory.mktemp("b"), cards=WARM_UP + PAIRS) as stage:
        yield stage


def measured(stage: BenchStage, pace: Pace) -> tuple[list[TapFigures], list[dict[str, float]]]:
    """Taps and their floors, after the warm-up."""
    stage.release(pace)
    taps, floors = [], []
    for number in range(WARM_UP + PAIRS):
        taps.append(stage.tap(number))
        floors.append(stage.floor(taps[-1]))
    return taps[WARM_UP:], floors[WARM_UP:]


def table(taps: list[TapFigures], floors: list[dict[str, float]], what: str, most: float | None) -> list[str]:
    """The ratio, the parts of the tap, and its moments."""
    whole = median(tap.ms for tap in taps)
    ground = median(sum(floor.values()) for floor in floors)
    parts = {name: median(tap.parts[name] for tap in taps) for name in taps[0].parts}
    beneath = {name: median(floor[name] for floor in floors) for name in floors[0]}
    grouped = [
        ("card", parts["card"], beneath["card"]),
        ("journal, store", parts["journal"] + parts["store"], beneath["commits"]),
        ("TLS and messages", parts["TLS"], beneath["echoes"]),
        ("vault crypto", parts["vault crypto"], None),
        ("server, Python", parts["server, Python"], None),
        ("kiosk, Python", parts["kiosk, Python"], None),
    ]
    moments = [
        f"  {what:<34}{median(tap.moments[place][1] for tap in taps):>9.2f}"
        for place, (what, _) in enumerate(taps[0].moments)
    ]
    fastest = min(tap.ms for tap in taps) / min(sum(floor.values()) for floor in floors)
    pairs = [tap.ms / sum(floor.values()) for tap, floor in zip(taps, floors, strict=True)]
    return [
        f"{what:<52}{whole / ground:>9.2f}" if most is None else Target(what, whole / ground, most, "").line,
        f"tap    {spread([tap.ms for tap in taps])} ms, {len(taps)} taps, medians with quartiles",
        f"floor  {spread([sum(floor.values()) for floor in floors])} ms: 10 commands with their connection,",
        f"       {taps[0].commits} durable commits, 3 round trips of {', '.join(_trips(taps[0]))} bytes over TLS 1.3",
        f"fastest tap / fastest floor  {fastest:.2f}: nearest to a quiet machine, but two single runs",
        f"pairs  {spread(pairs)}: each tap against the floor right after it",
        "",
        *shares(grouped, whole),
        "",
        "moments of the tap at the kiosk, ms",
        *moments,
    ]


def _trips(tap: TapFigures) -> list[str]:
    return [f"{up}+{down}" for up, down in tap.trips]


def test_a_replacement_by_a_card_that_takes_no_time(stage: BenchStage) -> None:
    began = time.monotonic()
    taps, floors = measured(stage, Pace())
    record("A card that takes no time", table(taps, floors, "tap / floor", 1.5), began)


def test_a_replacement_by_a_card_that_takes_a_real_cards_time(stage: BenchStage) -> None:
    began = time.monotonic()
    taps, floors = measured(stage, REAL_CARD)
    title = f"A card that takes {REAL_CARD.read_ms:g} ms a read and {REAL_CARD.write_ms:g} ms a write"
    record(title, table(taps, floors, "tap / floor", 1.1), began)


@pytest.mark.parametrize("p256", [False, True], ids=["RSA-3072", "P-256"])
def test_a_replacement_with_the_keys_of_both_servers_in_tokens(
    tmp_path_factory: pytest.TempPathFactory, p256: bool
) -> None:
    """One tap at a time. The share of the vault is that of the token: what the vault does beside it is microseconds."""
    began, folder = time.monotonic(), tmp_path_factory.mktemp("t")
    hsm = SoftHsm.in_folder(folder / "hsm")
    with BenchStage(folder / "b", cards=WARM_UP + PAIRS, p256=p256, hsm=hsm) as stage:
        taps, floors = measured(stage, Pace())
    pair = "P-256" if p256 else "RSA-3072"
    title = f"A card that takes no time, the keys of both servers in SoftHSM2 tokens, {pair}"
    rate = 1000 / median(tap.ms for tap in taps)
    record(title, [*table(taps, floors, "tap / floor", None), f"taps one after the other: {rate:.0f} a second"], began)
