"""The ceremonies of one key management server: asked, approved, done. Command line and service work through this.

Vault and transcript belong together: whoever holds the transcript's lock is alone with both.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kioskd.errors import BadConfiguration, NotApproved
from kioskd.kms.acts import Files, check_files, check_possible, check_words, perform
from kioskd.kms.transcript_file import opened
from kioskd.ports import KmsVault
from kioskd.rekey.ceremony import Act, Approval, Approved, Detail, Executed, Request, Requested
from kioskd.rekey.kms_wire import Listed
from kioskd.rekey.release import KmsHoldings

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Ceremonies:
    """One vault and its transcript. Each call is a step that is durable when it returns, or refused and not begun."""

    vault: KmsVault
    transcript: Path

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        return self.vault.holdings()

    def ask(self, act: Act, said: Mapping[str, str], days: int) -> Request:
        """Asks for an act; `NotApproved` for one that cannot be done, `BadConfiguration` for words that are none."""
        now = int(time.time())
        with opened(self.transcript, self.vault) as transcript:
            policy = transcript.ceremony.policy
            version = policy.version if policy is not None else 0
            details = tuple(Detail(name, said[name]) for name in sorted(said))
            try:
                asked = Request(secrets.token_bytes(16), act, details, version, now, now + days * DAY_S)
                check_words(asked)
                check_possible(self.vault, asked)
            except ValueError as wrong:
                raise BadConfiguration(f"the request cannot be made: {wrong}") from wrong
            transcript.append(Requested(asked), now)
        return asked

    def approve(self, approval: Approval) -> Listed:
        """Writes a custodian's approval down; `NotApproved` if it does not count."""
        with opened(self.transcript, self.vault) as transcript:
            transcript.append(Approved(approval), int(time.time()))
            state = transcript.ceremony
        digest = approval.request
        return Listed(state.requests[digest], state.approved[digest], digest in state.executed)

    def execute(self, asked: Request, given: tuple[Approval, ...], files: Files) -> list[str]:
        """Does what a request says, once enough custodians have approved; what to tell."""
        check_files(asked, files)
        now = int(time.time())
        with opened(self.transcript, self.vault) as transcript:
            if asked.digest not in transcript.ceremony.requests:  # its words were not looked at
                raise NotApproved("no such request was made here, or it was altered")
            check_possible(self.vault, asked)  # with the transcript held: nobody makes the same generation meanwhile
            for approval in given:
                if approval.custodian not in transcript.ceremony.approved.get(approval.request, ()):
                    transcript.append(Approved(approval), now)
            transcript.append(Executed(asked.digest), now)
            return perform(self.vault, asked, files, now)

    def listed(self) -> tuple[Listed, ...]:
        """Every request, oldest first."""
        with opened(self.transcript, self.vault) as transcript:
            state = transcript.ceremony
        return tuple(
            Listed(one, state.approved.get(digest, ()), digest in state.executed)
            for digest, one in state.requests.items()
        )
