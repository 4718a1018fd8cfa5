"""What an approved request does: each act of the ceremony, exactly as its words say."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kioskd.errors import BadConfiguration, NotApproved
from kioskd.kms.release import release, share
from kioskd.kms.vaults import back_up, restore, token_of
from kioskd.ports import KmsVault
from kioskd.private_file import write_private
from kioskd.public_file import check_free
from kioskd.rekey.backup import Backup
from kioskd.rekey.bundle import MAX_NUMBER, Bundle, BundlePurpose, Campaign, in_words, window_of
from kioskd.rekey.bundle_check import MIN_RSA_BITS, fingerprint_of, read_kms_key, read_transport_key
from kioskd.rekey.campaign import ORDER_VERSION, DisarmOrder
from kioskd.rekey.ceremony import Act, Request
from kioskd.rekey.release import check_destroy, check_release, check_share

_CLOCKS_S = 300  # clocks differ
_MOST_RSA_BITS = 8192
P256 = "P-256"
_MOST_HOURS = 24 * 31
_FINGERPRINT_BYTES = 32


def check_words(request: Request) -> None:
    """`ValueError` for particulars that could not be done as they are said: before anybody approves them."""
    for detail in request.details:
        match detail.name:
            case "generation" | "epoch" | "bits" | "quorum":
                wrong = not detail.value.isdecimal() or not 1 <= int(detail.value) <= MAX_NUMBER
            case "generation_from":
                wrong = not detail.value.isdecimal() or int(detail.value) >= int(request.detail("generation"))
            case "hours":
                wrong = not detail.value.isdecimal() or not 1 <= int(detail.value) <= _MOST_HOURS
            case "recipient" | "cases" | "backup" | "server":
                wrong = len(bytes.fromhex(plain(detail.value))) != _FINGERPRINT_BYTES
            case "curve":
                wrong = detail.value != P256
            case "window":
                begin, end = window_of(detail.value)
                wrong = begin > end
            case _:
                wrong = False
        if wrong:
            raise ValueError(f"{detail.name} cannot be {detail.value[:40]!r}")


def check_possible(vault: KmsVault, request: Request) -> None:
    """`NotApproved` if the act cannot be done as its words say: somebody else was quicker, or nothing is held."""
    held = vault.holdings()
    if request.act is Act.GENERATE and int(request.detail("generation")) != max(held.generations, default=0) + 1:
        raise NotApproved(f"the next generation is {max(held.generations, default=0) + 1} by now")
    epochs = (*held.issuing, *held.armed)
    if request.act is Act.EPOCH and int(request.detail("epoch")) != held.next_epoch:
        raise NotApproved(f"the next epoch is {held.next_epoch} by now")
    if request.act is Act.DESTROY:
        epoch = int(request.detail("epoch"))
        check_destroy(epoch, epoch in held.armed)
        silent = [in_words(one) for one in held.recipients_of(epoch) if in_words(one) not in request.detail("servers")]
        if silent:
            raise NotApproved(f"no statement of the access server {silent[0]}, which was given keys of epoch {epoch}")
    rsa = request.act is Act.EPOCH and not request.detail("curve")
    if rsa and not MIN_RSA_BITS <= int(request.detail("bits")) <= _MOST_RSA_BITS:
        raise BadConfiguration(f"an RSA pair has {MIN_RSA_BITS} to {_MOST_RSA_BITS} bits here")
    if request.act in (Act.BACKUP, Act.RESTORE):
        token_of(vault)
    if request.act is Act.SHARE:
        generation = int(request.detail("generation"))
        check_share(generation, generation in held.generations)
    if request.act in (Act.RELEASE, Act.ARM):
        generation, epoch = int(request.detail("generation")), int(request.detail("epoch"))
        issuing = request.act is Act.RELEASE
        check_release(
            generation, epoch, generation in held.generations, epoch in epochs, issuing and epoch in held.armed
        )


@dataclass(frozen=True, slots=True)
class Files:
    """What an act needs besides its request: the recipient's key, the file to write, a backup and its maker's key."""

    to: bytes | None = None
    out: Path | None = None
    backup: bytes | None = None
    kms_key: bytes | None = None


def perform(vault: KmsVault, request: Request, files: Files, now: int) -> list[str]:
    """Does the act; what to tell."""
    match request.act:
        case Act.GENERATE:
            return [
                f"Made generation {vault.generate()}.",
                "Next: release it with `kioskd kms request release` or `arm`.",
            ]
        case Act.EPOCH:
            fast = request.detail("curve")
            number = vault.new_p256_epoch() if fast else vault.new_epoch(int(request.detail("bits")))
            return [f"Made epoch {number}.", "Next: release its issuing keys with `kioskd kms request release`."]
        case Act.RELEASE | Act.ARM:
            return _release(vault, request, _recipient(request, files), _file(files), now)
        case Act.SHARE:
            return _share(vault, request, _recipient(request, files), _file(files), now)
        case Act.DISARM:
            return _order(vault, request, _recipient(request, files), _file(files), now)
        case Act.DESTROY:
            vault.destroy_epoch(int(request.detail("epoch")))
            return [f"Destroyed epoch {request.detail('epoch')}.", "Next: tell the access servers."]
        case Act.BACKUP:
            return _back_up(vault, _recipient(request, files), _file(files))
        case Act.RESTORE:
            return _restore(vault, *_backup(request, files))
        case Act.POLICY:
            quorum = request.detail("quorum")
            return [f"From now on {quorum} of the new custodians must approve.", "Next: tell them so."]


def _back_up(vault: KmsVault, to: bytes, out: Path) -> list[str]:
    backup = back_up(token_of(vault), to)
    write_private(out, backup.encode(), new=True)
    return [
        f"Wrote {len(backup.blocks)} blocks and {len(backup.pairs)} pairs to {out}.",
        f"Fingerprint of the backup: {in_words(backup.digest)}",
        "Next: keep it apart from the backup token.",
    ]


def _restore(vault: KmsVault, backup: Backup, server: bytes) -> list[str]:
    restore(token_of(vault), backup, server)
    return ["Took the backup in.", "Next: `kioskd kms export`: this server signs with a key of its own from now on."]


def _backup(request: Request, files: Files) -> tuple[Backup, bytes]:
    if files.backup is None or files.kms_key is None:
        raise BadConfiguration("--backup and --kms-key: are missing: the backup, and the public key of who made it")
    backup = Backup.decode(files.backup)
    if backup.digest.hex() != plain(request.detail("backup")):
        raise BadConfiguration("--backup: this is not the backup that the custodians approved")
    if fingerprint_of(read_kms_key(files.kms_key)).hex() != plain(request.detail("server")):
        raise BadConfiguration("--kms-key: this is not the key of the server that the custodians approved")
    return backup, files.kms_key


def plain(words: str) -> str:
    """A fingerprint without its spaces, in small letters."""
    return words.replace(" ", "").lower()


def check_files(request: Request, files: Files) -> None:
    """`BadConfiguration` if the act needs files that are not there, before anything is written down."""
    if request.act in (Act.RELEASE, Act.ARM, Act.SHARE, Act.DISARM, Act.BACKUP):
        _recipient(request, files)
        _file(files)
    if request.act is Act.RESTORE:
        _backup(request, files)


def _release(vault: KmsVault, request: Request, transport: bytes, out: Path, now: int) -> list[str]:
    generation, epoch = int(request.detail("generation")), int(request.detail("epoch"))
    window = (now - _CLOCKS_S, now + 3600 * int(request.detail("hours")))
    purpose, campaign = BundlePurpose.ISSUE, None
    if request.act is Act.ARM:
        begin, end = window_of(request.detail("window"))
        purpose = BundlePurpose.REPLACE
        start = int(request.detail("generation_from"))
        campaign = Campaign(request.detail("campaign"), start, generation, (epoch,), begin, end)
    bundle = release(vault, purpose, generation, epoch, transport, window, now, campaign)
    write_private(out, bundle, new=True)
    return [
        f"Wrote the {purpose.value} bundle of generation {generation}, epoch {epoch} to {out}.",
        f"Fingerprint of the epoch's public key: {in_words(sha256(Bundle.decode(bundle).public).digest())}",
        "Next: bring the file to the access server: `kioskd access import`.",
    ]


def _share(vault: KmsVault, request: Request, transport: bytes, out: Path, now: int) -> list[str]:
    window = (now - _CLOCKS_S, now + 3600 * int(request.detail("hours")))
    write_private(out, share(vault, int(request.detail("generation")), transport, window), new=True)
    return [
        f"Wrote the master bundle of generation {request.detail('generation')} to {out}.",
        "Next: bring the file to the card management system: docs/for-other-systems.md.",
    ]


def _order(vault: KmsVault, request: Request, transport: bytes, out: Path, now: int) -> list[str]:
    order = DisarmOrder(
        version=ORDER_VERSION,
        id=secrets.token_bytes(16),
        recipient=fingerprint_of(read_transport_key(transport)),
        campaign=request.detail("campaign"),
        cases=bytes.fromhex(plain(request.detail("cases"))),
        not_before=now - _CLOCKS_S,
        not_after=request.not_after,
    )
    write_private(out, order.signed(vault.sign).encode(), new=True)
    return [f"Wrote the order to {out}.", "Next: `kioskd access disarm CAMPAIGN --order FILE` at the access server."]


def _recipient(request: Request, files: Files) -> bytes:
    if files.to is None:
        raise BadConfiguration("--to: is missing: the public key that the request names")
    if fingerprint_of(read_transport_key(files.to)).hex() != plain(request.detail("recipient")):
        raise BadConfiguration("--to: this is not the transport key whose fingerprint the custodians approved")
    return files.to


def _file(files: Files) -> Path:
    if files.out is None:
        raise BadConfiguration("--out: is missing: the file to write")
    check_free(files.out)
    return files.out
