"""One error tree. Each error ends in one outcome of the catalogue (outcomes.py), named by its class."""

from typing import ClassVar


class KioskError(Exception):
    """Anything that this system reports as a failure; the text is one sentence for the technician."""

    outcome: ClassVar[str] = "internal"


class Malformed(KioskError):
    """Bytes or text from outside do not have the form that they must have."""

    outcome = "bad-message"


class ChannelBroken(KioskError):
    """A MAC or cryptogram of a secure channel is wrong."""

    outcome = "wrong-cryptogram"


class TapEnds(KioskError):
    """A conversation ends here with an outcome of the catalogue; nothing is broken by it."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(detail or name)
        self.name = name
        self.detail = detail


class Refusal(KioskError):
    """The role on this machine says no, and why."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class NoCard(KioskError):
    """No card."""

    outcome = "card-pulled"


class MuteCard(NoCard):
    """A card that cannot be spoken to: it does not answer to reset, or in no protocol that a terminal speaks."""

    outcome = "unreadable-card"


class PcscdDown(KioskError):
    """The PC/SC daemon does not answer."""

    outcome = "pcscd-down"


class ReaderHung(KioskError):
    """A command to the card never returned."""

    outcome = "reader-hung"


class LinkLost(KioskError):
    """The link to the access server is gone or could not be made."""

    outcome = "link-lost"


class ServerDown(LinkLost):
    """Nobody answers at the access server's address."""

    outcome = "server-down"


class ServerNotTrusted(LinkLost):
    """The access server's certificate is expired, foreign or for another name."""

    outcome = "server-not-trusted"


class KioskNotTrusted(LinkLost):
    """The access server refused this terminal's certificate."""

    outcome = "kiosk-not-trusted"


class KioskRevoked(LinkLost):
    """This terminal's certificate was revoked."""

    outcome = "kiosk-revoked"


class EnrolmentRefused(KioskError):
    """No certificate is given out: the code is wrong, used, expired or void, or renewal is not due."""

    outcome = "enrolment-refused"


class BadSigningRequest(EnrolmentRefused):
    """A signing request that is not signed by its own key, or for a kind of key that is not taken."""


class JournalFailed(KioskError):
    """The journal could not be read or written."""

    outcome = "journal-failed"


class StoreFailed(KioskError):
    """The store could not be read or written."""

    outcome = "store-failed"


class LeaseLost(KioskError):
    """The card is another conversation's by now."""

    outcome = "busy-elsewhere"


class VaultError(KioskError):
    """The vault refused or failed."""

    outcome = "vault-failed"


class NotArmed(VaultError):
    """The vault does not hold the block or private key that this needs."""

    outcome = "not-armed"


class HsmGone(VaultError):
    """The token, its module or an object in it is not there any more."""

    outcome = "hsm-gone"


class HsmPin(VaultError):
    """The token refuses the PIN."""

    outcome = "hsm-pin"


class HsmFull(VaultError):
    """The token has no room for another object."""

    outcome = "hsm-full"


class CampaignOver(KioskError):
    """The campaign that a card would be begun for has ended, or is being disarmed."""

    outcome = "campaign-over"


class CasesOpen(KioskError):
    """A campaign has cards that were begun and are not finished."""

    outcome = "cases-open"


class BadBundle(KioskError):
    """A signed paper (bundle, order, backup or statement) is for another recipient, altered, expired or used before."""

    outcome = "bad-bundle"


class UsedBefore(BadBundle):
    """A bundle was taken in before."""


class NotApproved(KioskError):
    """The custodians have not approved this, not any more, or not yet."""

    outcome = "not-approved"


class BadTranscript(KioskError):
    """A transcript of the ceremonies was altered, cut, or shows an act without its quorum."""

    outcome = "bad-transcript"


class BadConfiguration(KioskError):
    """A configuration or key file is not usable; the text names file and key."""

    outcome = "bad-configuration"
