"""What a vault holds, in names and numbers, whatever stands behind it.

An epoch goes from issuing to ended or armed, from ended to armed, and never back to issuing.
"""

from dataclasses import dataclass
from enum import StrEnum


class EpochState(StrEnum):
    """What an epoch's keys are here for."""

    ISSUING = "issuing"
    ENDED = "ended"
    ARMED = "armed"


@dataclass(frozen=True, slots=True)
class EpochHolding:
    """An epoch, without its keys."""

    epoch: int
    state: EpochState
    generation: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a vault holds, in names and numbers: for status."""

    generations: tuple[int, ...]
    epochs: tuple[EpochHolding, ...]
    factory_sets: tuple[str, ...]

    @property
    def issuing(self) -> tuple[int, ...]:
        """The epochs under which cards may be issued."""
        return tuple(one.epoch for one in self.epochs if one.state is EpochState.ISSUING)

    @property
    def armed(self) -> tuple[int, ...]:
        """The epochs whose cards may be replaced."""
        return tuple(one.epoch for one in self.epochs if one.state is EpochState.ARMED)

    def generation_of(self, epoch: int) -> int | None:
        """The generation that an epoch's cards should have: that of its newest bundle."""
        return next((one.generation for one in self.epochs if one.epoch == epoch), None)
