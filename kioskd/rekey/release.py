"""What a key management server knows of its keys, in numbers: what it holds and what it released."""

from dataclasses import dataclass

from kioskd.errors import VaultError
from kioskd.rekey.bundle import BundleHeader, BundlePurpose


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle that went out."""

    id: bytes
    purpose: BundlePurpose
    generation: int
    epoch: int
    recipient: bytes
    not_before: int
    not_after: int

    @classmethod
    def of(cls, header: BundleHeader) -> "Release":
        """What is noted of a bundle."""
        window = (header.not_before, header.not_after)
        return cls(header.id, header.purpose, header.generation, header.epoch, header.recipient, *window)


@dataclass(frozen=True, slots=True)
class KmsHoldings:
    """What the key management server holds, in numbers: for its list."""

    fingerprint: bytes
    generations: tuple[int, ...]
    issuing: tuple[int, ...]
    armed: tuple[int, ...]
    releases: tuple[Release, ...]
    destroyed: tuple[int, ...] = ()  # epochs; their numbers are never given again

    @property
    def next_epoch(self) -> int:
        """The number of the next epoch: one that no epoch has had."""
        return max((*self.issuing, *self.armed, *self.destroyed), default=0) + 1

    def recipients_of(self, epoch: int) -> frozenset[bytes]:
        """The access servers that were given keys of an epoch."""
        return frozenset(one.recipient for one in self.releases if one.epoch == epoch)


def check_release(generation: int, epoch: int, has_generation: bool, has_epoch: bool, ended: bool) -> None:
    """`VaultError` for a release of what is not held, or of issuing keys whose epoch has `ended` its issuing."""
    if not has_generation:
        raise VaultError(f"generation {generation}: there is none; make it first")
    if not has_epoch:
        raise VaultError(f"epoch {epoch}: there is none; make it first")
    if ended:
        raise VaultError(f"epoch {epoch}: was released for replacement; issue under another epoch")


def check_destroy(epoch: int, armed: bool) -> None:
    """`VaultError` for an epoch that may still issue, or that is not there: only an armed one gets no new cards."""
    if not armed:
        raise VaultError(f"epoch {epoch}: is not armed: it may still issue cards, or is not there")
