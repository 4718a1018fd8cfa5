"""One process's rate of cards, end to end: `python -m tests.bench.house_rates KIND PAIR CARDS`.

Engine, store, journal, relay and card in one process, with the vault behind them; no reader, no network.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.rekey.bundle import BundlePurpose
from tests.bench.vault_rates import Timed
from tests.hsm.faulty import Watched
from tests.hsm.houses import House, bring, empty_vault


async def story(kind: str, pair: str, cards: int) -> dict[str, float]:
    """Issues and replaces so many cards; cards a second, and the share of the time inside the token's calls."""
    folder = Path(tempfile.mkdtemp())
    vault = empty_vault(kind, folder / "vault")
    bring(vault, BundlePurpose.ISSUE, 1, pair)
    houses = []
    for number in range(cards):
        (folder / str(number)).mkdir()
        houses.append(House(folder / str(number)))
    timed = Timed()
    if isinstance(vault, TokenVault):
        vault._token.session = Watched(timed, vault._token.session)
    began = time.perf_counter()
    for house in houses:
        assert await house.issue(vault) == "issued"
    issuing = time.perf_counter() - began
    issuing_share, timed.inside = timed.inside / issuing, 0.0
    bring(vault, BundlePurpose.REPLACE, 2, pair)
    timed.inside, began = 0.0, time.perf_counter()
    for house in houses:
        assert await house.replace(vault) == "done"
    replacing = time.perf_counter() - began
    for house in houses:
        await house.close()
    return {
        "issuances": cards / issuing,
        "issuing share": issuing_share,
        "replacements": cards / replacing,
        "replacing share": timed.inside / replacing,
    }


if __name__ == "__main__":
    json.dump(asyncio.run(story(sys.argv[1], sys.argv[2], int(sys.argv[3]))), sys.stdout)
