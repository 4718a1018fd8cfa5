"""The one catalogue of outcomes: what the cardholder reads, what the technician reads, what to do, how grave it is.

Every conversation, refusal and error ends in one of these. Codes are stable: they are printed on screens and in logs.
"""

from kioskd.outcome import LATER, Outcome, Severity
from kioskd.outcomes_services import SERVICES

_TAP_AGAIN = "Please tap your card again."

_TAPS = (
    # A tap that ends well
    Outcome(
        "done",
        "K100",
        Severity.GOOD,
        "Done. Take your card.",
        "The master key set was replaced and proven.",
        "Nothing to do.",
    ),
    Outcome(
        "not-migrated",
        "K106",
        Severity.GOOD,
        "Your card is up to date. Take your card.",
        "The master key set was replaced and proven, by one of 3DES: the card refused AES keys, or was begun before.",
        "Nothing to do; the next replacement tries AES again. If the profile says what this card cannot do, mend it.",
    ),
    Outcome(
        "ready-unconfirmed",
        "K101",
        Severity.NOTICE,
        "Your card is ready. If it fails, tap again.",
        "The script ran to its end; the report is kept and goes up when the link is back.",
        "Check the link; the report is sent by itself.",
    ),
    Outcome(
        "adopted",
        "K105",
        Severity.GOOD,
        "Thank you. Take your card.",
        "A card that was issued elsewhere has a replacement set now; it is recorded as master-bound.",
        "Nothing to do; reissue it when you can.",
    ),
    Outcome(
        "already-done",
        "K102",
        Severity.GOOD,
        "Your card is up to date. Take your card.",
        "The card already holds the current master key set.",
        "Nothing to do.",
    ),
    Outcome(
        "nothing-to-do",
        "K103",
        Severity.GOOD,
        "Your card needs nothing today. Take your card.",
        "No replacement is armed for this card's epoch.",
        "Arm a replacement if one is due.",
    ),
    Outcome(
        "issued",
        "K104",
        Severity.GOOD,
        "The card is issued. Take the card.",
        "Both key sets were installed and proven; the factory set is gone.",
        "Nothing to do.",
    ),
    # The card
    Outcome(
        "card-pulled",
        "K200",
        Severity.RETRY,
        "The card was pulled too early. " + _TAP_AGAIN,
        "The card left the reader before any change was begun.",
        "Ask the cardholder to leave the card in.",
    ),
    Outcome(
        "card-pulled-in-doubt",
        "K201",
        Severity.RETRY,
        "Not finished yet. " + _TAP_AGAIN,
        "The card left the reader after the first change may have gone out; the case is open.",
        "The next tap, at any kiosk, finishes the card.",
    ),
    Outcome(
        "not-globalplatform",
        "K202",
        Severity.NOTICE,
        "This card cannot be used here.",
        "No Issuer Security Domain answered SELECT: another kind of card, or one that was never initialised.",
        "Check that it is one of our cards.",
    ),
    Outcome(
        "unknown-card",
        "K203",
        Severity.NOTICE,
        "We do not know this card.",
        "The card's id is not in the store.",
        "Check the card's id with the issuer.",
    ),
    Outcome(
        "card-locked",
        "K204",
        Severity.FAULT,
        "This card is locked. Please ask for help.",
        "The card is locked or terminated, or its replacement key set is blocked.",
        "Reissue or unlock the card.",
    ),
    Outcome(
        "no-card-id",
        "K205",
        Severity.FAULT,
        "This card cannot be used here.",
        "The card gives no usable unique id (absent, all zero, all FF, or another card's).",
        "Set the card aside.",
    ),
    Outcome(
        "wrong-cryptogram",
        "K206",
        Severity.ALARM,
        "This card could not be checked. Please ask for help.",
        "The card's cryptogram matches no key set that is on record; no authentication was tried.",
        "Do not retry. Check the card's records and the kiosk.",
    ),
    Outcome(
        "unreadable-card",
        "K207",
        Severity.FAULT,
        "This card could not be read. " + _TAP_AGAIN,
        "The card gave an answer that is not well formed, or refused a plain read.",
        "Try another reader; then set the card aside.",
    ),
    Outcome(
        "not-finished",
        "K208",
        Severity.RETRY,
        "Not finished yet. " + _TAP_AGAIN,
        "The card's state is not proven yet; the case stays open.",
        "Tap again; if it repeats, read the case.",
    ),
    Outcome(
        "kvn-taken",
        "K209",
        Severity.FAULT,
        "Your card cannot be updated today. Your card is as it was before.",
        "The new generation falls on the key version number of the present master set.",
        "Release another generation.",
    ),
    Outcome(
        "already-issued",
        "K210",
        Severity.FAULT,
        "This card has been issued before.",
        "The card's id is already on record as issued.",
        "A duplicate id: set the card aside.",
    ),
    Outcome(
        "missing-cryptogram",
        "K211",
        Severity.FAULT,
        "This card cannot be updated here. Please ask for help.",
        "The store holds no cryptogram for this card.",
        "Restore the cryptograms; the card was not touched.",
    ),
    Outcome(
        "scp-unsupported",
        "K212",
        Severity.FAULT,
        "This card cannot be used here.",
        "The card's secure channel is not the one of its profile.",
        "Check the card's profile.",
    ),
    Outcome(
        "card-unfit",
        "K213",
        Severity.FAULT,
        "This card cannot be updated here. Your card is as it was before.",
        "The card's profile rules the operation out, or the card fits no profile; nothing was changed.",
        "Read the sentence in the log; `kioskd profile check` says the same before a card comes.",
    ),
    Outcome(
        "card-blocked",
        "K214",
        Severity.NOTICE,
        "This card is not accepted. Please ask your card's issuer.",
        "The operators have put this card on the list of blocked cards; nothing was changed.",
        "Ask the operators: `kioskd access blocked` tells why, `kioskd access unblock CARD` lets it in again.",
    ),
    # The reader
    Outcome(
        "pcscd-down",
        "K300",
        Severity.FAULT,
        "Out of service. Please use another kiosk.",
        "The PC/SC daemon does not answer.",
        "Start pcscd; the kiosk reconnects by itself.",
    ),
    Outcome(
        "no-reader",
        "K301",
        Severity.FAULT,
        "Out of service. Please use another kiosk.",
        "No reader is connected.",
        "Connect the reader.",
    ),
    Outcome(
        "reader-hung",
        "K302",
        Severity.FAULT,
        "Out of service. Please use another kiosk.",
        "A command to the card never returned.",
        "Unplug the reader, restart pcscd.",
    ),
    Outcome(
        "drained",
        "K310",
        Severity.NOTICE,
        "Out of service. Please use another kiosk.",
        "A technician has stopped this terminal from taking cards.",
        "When the work is done: kioskctl undrain.",
    ),
    Outcome(
        "reader-closed",
        "K311",
        Severity.NOTICE,
        "This reader is closed. Please use another one.",
        "A technician has closed this reader.",
        "When the work is done: kioskctl readers open NAME.",
    ),
    # The link and the access server
    Outcome(
        "server-down",
        "K400",
        Severity.RETRY,
        LATER,
        "The access server does not answer.",
        "Check the network and the access server.",
    ),
    Outcome(
        "server-not-trusted",
        "K401",
        Severity.ALARM,
        LATER,
        "The access server's certificate is expired, foreign or for another name.",
        "Check the certificates.",
    ),
    Outcome(
        "kiosk-not-trusted",
        "K402",
        Severity.ALARM,
        LATER,
        "The access server does not accept this terminal's certificate.",
        "Renew this terminal's certificate.",
    ),
    Outcome(
        "kiosk-revoked",
        "K413",
        Severity.ALARM,
        LATER,
        "This terminal's certificate was revoked; the access server refuses whatever comes under it.",
        "If it is a good terminal, enrol it again with a new code: `kioskctl enrol`.",
    ),
    Outcome(
        "enrolment-refused",
        "K414",
        Severity.FAULT,
        LATER,
        "No certificate was given out: the code is wrong, used, expired or void, or the renewal is not due.",
        "Have the operator give out a new code: `kioskd access enrolment add NAME`.",
    ),
    Outcome(
        "link-lost",
        "K403",
        Severity.RETRY,
        "Connection lost. " + _TAP_AGAIN,
        "The link broke before any change was begun.",
        "Nothing, if it is rare.",
    ),
    Outcome(
        "bad-message",
        "K404",
        Severity.FAULT,
        LATER,
        "A message was malformed, of another version, out of order, or for another tap.",
        "Update the software.",
    ),
    Outcome(
        "script-refused",
        "K405",
        Severity.ALARM,
        LATER,
        "A script asked for something that the relay's allow-list forbids; nothing was sent to the card.",
        "Check the access server: this must not happen.",
    ),
    Outcome(
        "too-late",
        "K406",
        Severity.RETRY,
        _TAP_AGAIN,
        "The script's deadline passed before any change was begun.",
        "Check the reader's and the network's speed.",
    ),
    Outcome(
        "busy-elsewhere",
        "K407",
        Severity.RETRY,
        _TAP_AGAIN,
        "The card is being handled in another conversation.",
        "Nothing, if it is rare.",
    ),
    Outcome(
        "attempts-spent",
        "K408",
        Severity.ALARM,
        "This card could not be checked. Please ask for help.",
        "This terminal has spent its attempts with this card.",
        "Check the terminal, then `kioskd access clear TERMINAL CARD`.",
    ),
    Outcome(
        "tries-kept",
        "K215",
        Severity.ALARM,
        "This card could not be checked. Please ask for help.",
        "Half of the card's attempts are spent; the other half is kept, so that the card is never blocked.",
        "See why its taps broke off, then `kioskd access more-tries CARD`.",
    ),
    Outcome(
        "kiosk-died",
        "K216",
        Severity.RETRY,
        "Not finished yet. " + _TAP_AGAIN,
        "The kiosk stopped while it wrote to this card; the case may be open.",
        "Have the card tapped again, here or at any other kiosk: that finishes it.",
    ),
    Outcome(
        "too-many",
        "K411",
        Severity.ALARM,
        LATER,
        "This terminal asks for more replacement keys than a terminal needs.",
        "Check the terminal: its certificate may be stolen.",
    ),
    Outcome(
        "not-armed",
        "K409",
        Severity.NOTICE,
        LATER,
        "The vault holds no keys for this card's epoch.",
        "Import the bundle that the KMS released.",
    ),
    Outcome(
        "campaign-over",
        "K412",
        Severity.NOTICE,
        "This exchange has ended. Your card is as it was before.",
        "The campaign that would replace this card's key set has ended or is being disarmed.",
        "If the card should still be replaced, have the KMS release its keys for a new campaign.",
    ),
    Outcome(
        "role-forbidden",
        "K410",
        Severity.ALARM,
        LATER,
        "This certificate's role may not do that (kiosks replace, stations issue).",
        "Use the right terminal.",
    ),
)

_ALL = (*_TAPS, *SERVICES)
CATALOGUE: dict[str, Outcome] = {outcome.name: outcome for outcome in _ALL}


def outcome(name: str) -> Outcome:
    """The outcome of that name; KeyError for a name that is not in the catalogue."""
    return CATALOGUE[name]


def page() -> str:
    """The catalogue as a page of Markdown, for docs/outcomes.md."""
    lines = [
        "# What the code on the screen means",
        "",
        "Made from `kioskd/outcomes.py` by `make docs`.",
        "",
        "| code | name | severity | the cardholder reads | for the technician | what to do |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(_ALL, key=lambda one: one.code):
        cells = (one.code, f"`{one.name}`", one.severity.value, one.cardholder, one.technician, one.advice)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
