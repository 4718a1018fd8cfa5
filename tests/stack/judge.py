"""What must be true of a card after its last tap, with every key that the key management server holds."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kioskd.gp.factory_keys import FactoryKeys
from kioskd.private_file import read_passphrase
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.rekey.profile import Profile
from kioskd.rekey.records import CardState, Record, fold
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import OAEP, load_pair
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import FACTORY_KEY
from kioskd.virtual.derivation import KeyValues, factory_values, krk_values, master_values
from kioskd.virtual.kms import SoftKms
from tests.faults.oracle import KeyBytes, Oracle


class KmsKeys:
    """Every set that the records can lead to, from the key management server's file."""

    def __init__(self, folder: Path) -> None:
        self._held = SoftKms.open(folder / "kms.vault", read_passphrase(folder / "kms.pass"))._held()
        self._pairs = {number: load_pair(epoch.private) for number, epoch in self._held.epochs.items()}

    def master(self, label: KeyLabel) -> KeyBytes:
        """The master set of a label."""
        return _bytes(master_values(self._held.blocks[label.number], label))

    def krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyBytes:
        """The replacement set of a cryptogram."""
        pair = self._pairs[label.number]
        assert isinstance(pair, RSAPrivateKey)
        rnd = Secret(pair.decrypt(cryptogram.value, OAEP))
        return _bytes(krk_values(self._held.epochs[label.number].krkdb, rnd, label))

    def factory(self, name: str) -> KeyBytes:
        """The one factory set of the installation."""
        value = Secret(FACTORY_KEY[:16])
        return _bytes(factory_values(FactoryKeys((value, value, value)), b""))


def complaints(
    keys: KmsKeys, profile: Profile, card: VirtualCard, records: tuple[Record, ...], generation: int, epoch: int
) -> list[str]:
    """All that is wrong with a card at rest; empty if it opens with exactly the sets that the server believes."""
    state = fold(records)
    if state.registered is None:
        return ["the server does not know the card"]
    oracle = Oracle(keys, Subject(state.registered.card, profile))
    wrong = oracle.complaints(card.memory, records, tries=card.options.tries)
    if not finished(state, generation, epoch):
        wrong.append(f"the case is open, or not of generation {generation} and epoch {epoch}")
    unsettled = [one.number for one in state.intents if one.number > state.settled]
    return wrong + ([f"no evidence of the scripts {unsettled}"] if unsettled else [])


def finished(state: CardState, generation: int, epoch: int) -> bool:
    """Whether the records say that the operation is done and proven."""
    closed = state.closed
    return not state.open and closed is not None and (closed.master.generation, closed.krk.epoch) == (generation, epoch)


def _bytes(values: KeyValues) -> KeyBytes:
    return tuple(one.reveal() for one in values)
