"""`python -m tests.faults.pictures`: docs/pictures/faults.svg, the steps of each operation and what they leave."""

import logging
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from tests.faults.explore import states_after
from tests.faults.folding import Key, key_of
from tests.faults.jobs import MAINS
from tests.faults.joined import TapRun
from tests.faults.scenarios import Scenario, scenarios
from tests.faults.stopped import at_once
from tests.faults.table import faults_at

FILE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "faults.svg"
WIDTH, LEFT, ROW, BASE, SCALE = 1120, 20, 230, 110, 4
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f")
NAMED = ("append Intent", "note", "transmit", "keep", "append Found", "append Closed", "ack", "append Registered")


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: its name, how many faults strike there, and which state a power cut there leaves."""

    name: str
    faults: int
    state: int


def bars(scenario: Scenario) -> list[Bar]:
    """The steps of the undisturbed tap."""
    whole = TapRun(scenario, scenario.begin(), snapshots=[])
    whole.run()
    known: dict[Key, int] = {}
    found = []
    for number, name in enumerate(whole.steps):
        left = at_once("power-cut", whole, number)
        assert left is not None
        state = known.setdefault(key_of(scenario, left), len(known))
        found.append(Bar(name, len(list(faults_at(name, scenario, dirty=whole.dirty[number]))), state))
    return found


def picture() -> str:
    """The whole picture."""
    rows = [_row(scenarios()[name], number) for number, name in enumerate(MAINS)]
    height = ROW * len(MAINS) + 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        f'<text x="{LEFT}" y="22" font-size="14">One bar is one step of a tap; its height, how many kinds of fault '
        "strike there; one colour, one state after a power cut.</text>"
    )
    return "\n".join((head, *rows, "</svg>", ""))


def _row(scenario: Scenario, number: int) -> str:
    found, top = bars(scenario), 40 + number * ROW
    step = (WIDTH - 2 * LEFT) / len(found)
    struck = sum(one.faults for one in found)
    cuts, states = len({one.state for one in found}), len(states_after(scenario, 1))
    words = f"{len(found)} steps, {struck} single faults; {cuts} states after power cuts, {states} after all of them"
    lines = [f'<text x="{LEFT}" y="{top + 12}" font-size="13">{escape(scenario.name)}: {words}</text>']
    for at, one in enumerate(found):
        x, height = LEFT + at * step, SCALE * one.faults
        colour = COLOURS[one.state % len(COLOURS)]
        lines.append(
            f'<rect x="{x:.1f}" y="{top + BASE - height}" width="{step - 1:.1f}" height="{height}" fill="{colour}">'
            f"<title>{at} {escape(one.name)}: {one.faults}</title></rect>"
        )
        if one.name.startswith(NAMED) and not one.name.endswith("sync"):
            where = f"translate({x + step / 2:.1f} {top + BASE + 8}) rotate(55)"
            lines.append(f'<text transform="{where}" font-size="9">{escape(one.name.removeprefix("transmit "))}</text>')
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    FILE.write_text(picture())
