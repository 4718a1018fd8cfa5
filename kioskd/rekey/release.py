"""What a key management server knows of its keys, in numbers: what it holds and what it released."""

from dataclasses import dataclass
from enum import StrEnum

from kioskd.errors import VaultError
from kioskd.rekey.bundle import BundleHeader, BundlePurpose
from kioskd.rekey.master_bundle import MasterHeader


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle that went out; a shared master block has epoch 0."""

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

    @classmethod
    def of_master(cls, header: MasterHeader) -> "Release":
        """What is noted of a master bundle."""
        window = (header.not_before, header.not_after)
        return cls(header.id, BundlePurpose.SHARE, header.generation, 0, header.recipient, *window)


class KmsEpochState(StrEnum):
    """Where an epoch stands at the key management server; it never goes back."""

    GENERATED = "generated"
    ACTIVE = "active"  # its issuing keys were released
    RELEASED = "released"  # its private key was: it issues no more
    RETIRED = "retired"  # and no bundle of it can be taken in any more
    DESTROYED = "destroyed"


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

    def states(self, now: int) -> dict[int, KmsEpochState]:
        """Every epoch that there ever was, by its number; `now` is seconds since 1970."""
        return {epoch: self._state(epoch, now) for epoch in sorted((*self.issuing, *self.armed, *self.destroyed))}

    def _state(self, epoch: int, now: int) -> KmsEpochState:
        released = [one for one in self.releases if one.epoch == epoch]
        if epoch in self.destroyed:
            return KmsEpochState.DESTROYED
        if epoch in self.armed:
            last = max((one.not_after for one in released), default=now)
            return KmsEpochState.RELEASED if now <= last else KmsEpochState.RETIRED
        return KmsEpochState.ACTIVE if released else KmsEpochState.GENERATED

    def recipients_of(self, epoch: int) -> frozenset[bytes]:
        """The access servers that were given keys of an epoch."""
        return frozenset(one.recipient for one in self.releases if one.epoch == epoch)


def check_release(generation: int, epoch: int, has_generation: bool, has_epoch: bool, ended: bool) -> None:
    """`VaultError` for a release of what is not held, or of issuing keys whose epoch has `ended` its issuing."""
    check_share(generation, has_generation)
    if not has_epoch:
        raise VaultError(f"epoch {epoch}: there is none; make it first")
    if ended:
        raise VaultError(f"epoch {epoch}: was released for replacement; issue under another epoch")


def check_share(generation: int, has_generation: bool) -> None:
    """`VaultError` for a master block that is not held."""
    if not has_generation:
        raise VaultError(f"generation {generation}: there is none; make it first")


def check_destroy(epoch: int, armed: bool) -> None:
    """`VaultError` for an epoch that may still issue, or that is not there: only an armed one gets no new cards."""
    if not armed:
        raise VaultError(f"epoch {epoch}: is not armed: it may still issue cards, or is not there")
