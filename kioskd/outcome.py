"""What an outcome is: a code, what the cardholder reads, what the technician reads, what to do, how grave it is."""

from dataclasses import dataclass
from enum import StrEnum

LATER = "Please try again later. Your card is as it was before."


class Severity(StrEnum):
    """How grave an outcome is, from 'all is well' to 'somebody must come'."""

    GOOD = "good"
    NOTICE = "notice"
    RETRY = "retry"
    FAULT = "fault"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way in which something ends."""

    name: str
    code: str
    severity: Severity
    cardholder: str
    technician: str
    advice: str
