"""What an approved request does: each act of the ceremony, exactly as its words say."""

import calendar
import secrets
import time
from dataclasses import replace
from pathlib import Path

from kioskd.errors import BadConfiguration, NotApproved
from kioskd.kms.release import KmsVault, release
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BundlePurpose, Campaign
from kioskd.rekey.bundle_check import MIN_RSA_BITS, fingerprint_of, read_transport_key
from kioskd.rekey.campaign import ORDER_VERSION, DisarmOrder
from kioskd.rekey.ceremony import Act, Request
from kioskd.rekey.release import check_release

_MINUTE = "%Y-%m-%d %H:%M UTC"
_CLOCKS_S = 300  # clocks differ
_MOST_RSA_BITS = 8192


def minute(at: int) -> str:
    """A time to the minute, as requests say it."""
    return time.strftime(_MINUTE, time.gmtime(at))


def window_words(begin: int, end: int) -> str:
    """A window, as requests say it."""
    return f"{minute(begin)} to {minute(end)}"


def check_possible(vault: KmsVault, request: Request) -> None:
    """`NotApproved` if the act cannot be done as its words say: somebody else was quicker, or nothing is held."""
    held = vault.holdings()
    if request.act is Act.GENERATE and int(request.detail("generation")) != max(held.generations, default=0) + 1:
        raise NotApproved(f"the next generation is {max(held.generations, default=0) + 1} by now")
    epochs = (*held.issuing, *held.armed)
    if request.act is Act.EPOCH and int(request.detail("epoch")) != max(epochs, default=0) + 1:
        raise NotApproved(f"the next epoch is {max(epochs, default=0) + 1} by now")
    if request.act is Act.EPOCH and not MIN_RSA_BITS <= int(request.detail("bits")) <= _MOST_RSA_BITS:
        raise BadConfiguration(f"an RSA pair has {MIN_RSA_BITS} to {_MOST_RSA_BITS} bits here")
    if request.act in (Act.RELEASE, Act.ARM):
        generation, epoch = int(request.detail("generation")), int(request.detail("epoch"))
        issuing = request.act is Act.RELEASE
        check_release(
            generation, epoch, generation in held.generations, epoch in epochs, issuing and epoch in held.armed
        )


def perform(vault: KmsVault, request: Request, transport: bytes | None, out: Path | None, now: int) -> list[str]:
    """Does the act; what to tell. `transport` is the recipient's key (PEM), `out` the file of a bundle or order."""
    match request.act:
        case Act.GENERATE:
            return [
                f"Made generation {vault.generate()}.",
                "Next: release it with `kioskd kms request release` or `arm`.",
            ]
        case Act.EPOCH:
            number = vault.new_epoch(int(request.detail("bits")))
            return [f"Made epoch {number}.", "Next: release its issuing keys with `kioskd kms request release`."]
        case Act.RELEASE | Act.ARM:
            return _release(vault, request, _recipient(request, transport), _file(out), now)
        case Act.DISARM:
            return _order(vault, request, _recipient(request, transport), _file(out), now)
        case Act.POLICY:
            quorum = request.detail("quorum")
            return [f"From now on {quorum} of the new custodians must approve.", "Next: tell them so."]


def check_files(request: Request, transport: bytes | None, out: Path | None) -> None:
    """`BadConfiguration` if the act needs files that are not there, before anything is written down."""
    if request.act in (Act.RELEASE, Act.ARM, Act.DISARM):
        _recipient(request, transport)
        _file(out)


def _release(vault: KmsVault, request: Request, transport: bytes, out: Path, now: int) -> list[str]:
    generation, epoch = int(request.detail("generation")), int(request.detail("epoch"))
    window = (now - _CLOCKS_S, now + 3600 * int(request.detail("hours")))
    purpose, campaign = BundlePurpose.ISSUE, None
    if request.act is Act.ARM:
        begin, end = (calendar.timegm(time.strptime(one, _MINUTE)) for one in request.detail("window").split(" to "))
        purpose = BundlePurpose.REPLACE
        start = int(request.detail("generation_from"))
        campaign = Campaign(request.detail("campaign"), start, generation, (epoch,), begin, end)
    bundle = release(vault, purpose, generation, epoch, transport, window, now, campaign)
    write_private(out, bundle, new=True)
    return [
        f"Wrote the {purpose.value} bundle of generation {generation}, epoch {epoch} to {out}.",
        "Next: bring the file to the access server: `kioskd access import`.",
    ]


def _order(vault: KmsVault, request: Request, transport: bytes, out: Path, now: int) -> list[str]:
    order = DisarmOrder(
        version=ORDER_VERSION,
        id=secrets.token_bytes(16),
        recipient=fingerprint_of(read_transport_key(transport)),
        campaign=request.detail("campaign"),
        cases=bytes.fromhex(request.detail("cases").replace(" ", "")),
        not_before=now - _CLOCKS_S,
        not_after=request.not_after,
    )
    signed = replace(order, signature=vault.sign(order.signed_part()))
    write_private(out, signed.encode(), new=True)
    return [f"Wrote the order to {out}.", "Next: `kioskd access disarm CAMPAIGN --order FILE` at the access server."]


def _recipient(request: Request, transport: bytes | None) -> bytes:
    if transport is None:
        raise BadConfiguration("--to: is missing: the transport key of the access server that the request names")
    found = fingerprint_of(read_transport_key(transport)).hex()
    if found != request.detail("recipient").replace(" ", "").lower():
        raise BadConfiguration("--to: this is not the transport key whose fingerprint the custodians approved")
    return transport


def _file(out: Path | None) -> Path:
    if out is None:
        raise BadConfiguration("--out: is missing: the file to write")
    if out.exists():
        raise BadConfiguration(f"{out}: exists already")
    return out
