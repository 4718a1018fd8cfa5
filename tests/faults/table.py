"""The faults, by name: where each may strike. `docs/faults.md` says what must hold and what each stands for."""

from collections.abc import Iterator

from kioskd.rekey.profile import Operation
from tests.faults.scenarios import Scenario

ANYWHERE = ("power-cut", "kill-kiosk", "kill-server", "cut-link", "carried")
"""At every step. The rest strike where a step can fail in their way."""

PULLS = ("pull-before", "pull-after")
FAILS = ("card-fails", "card-fails-on")
LIES = ("lie-sw", "lie-bit", "lie-short", "lie-new-keys", "lie-old-keys")

VAULT = frozenset(
    (
        *("challenge", "mint_krk", "recover_krk", "derive_master", "factory_set", "proves", "open_channel"),
        *("wrap_key_set", "wrap_unlock_key", "wrap_commands", "unwrap_responses", "holdings", "forget"),
    )
)
WRITES = ("append", "firm_lease", "charge ")
READS = ("find", "records", "campaign", "fence", "charges")


def faults_at(name: str, scenario: Scenario, *, dirty: bool) -> Iterator[str]:
    """The faults that may strike a step of that name; `dirty`: the terminal wrote what is not on the disk yet."""
    yield from ANYWHERE
    if dirty:
        yield "kiosk-power"
    if name in VAULT:
        yield "vault-fails"
    if name.startswith(WRITES):
        yield from ("store-fails", "store-fails-after")
    if name in READS:
        yield "store-fails"
    if name in ("note", "keep"):
        yield "journal-fails"
    if name == "script":
        yield from ("late", "doubled")
    if name == "report":
        yield from ("doubled", "withheld")
    if name.startswith("transmit"):
        # Nothing tells that a card without response MAC and key information kept its factory set, if a terminal lies.
        told = not scenario.options.empty_keys or name != "transmit DELETE"
        yield from (*PULLS, *(FAILS if told else FAILS[:1]), *LIES)
        if name == "transmit EXTERNAL AUTHENTICATE":
            yield "late"
    if name == "identify":
        yield from ("pull-before", "journal-lost")
    yield from _of_operation(name, scenario)


def _of_operation(name: str, scenario: Scenario) -> Iterator[str]:
    if scenario.operation not in (Operation.REPLACE, Operation.ROTATE):
        return
    if name in ("campaign", "identify"):
        yield "window-closes"
    if name == "identify" and scenario.profile.deletes and not scenario.options.empty_keys:
        yield "planted"  # elsewhere it cannot be deleted, or nobody sees it: the case stays open
    if name == "tap":
        yield from ("lie-new-keys", "lie-old-keys", "lie-short")
    if name != "identify":
        yield "restored"
