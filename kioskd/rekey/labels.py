"""What makes each derived key unlike every other: the label that goes into its derivation, and the cryptogram."""

from dataclasses import dataclass, replace

from kioskd.errors import VaultError
from kioskd.gp.cplc import CardId

SCHEME, P256_SCHEME = 1, 2
"""The derivation schemes of this file; one stands in every label and every stored cryptogram.

1: RND is the token's own, encrypted by RSA-OAEP. 2: RND is agreed on with an ephemeral key of P-256, whose point is the
cryptogram and goes into the label.
"""
OAEP_HASH = "SHA1"
AES, DES = "AES", "3DES"
"""Algorithms of key sets; a 3DES key has 128 bits, parity bits counted."""


@dataclass(frozen=True, slots=True)
class KeyKind:
    """What the keys of one set are made for."""

    algorithm: str
    bits: int

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.bits}"


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """Names one key set of one card: everything that its derivation depends on besides the block and RND."""

    kind: str  # "KRK" or "MK"
    number: int  # the epoch of a KRK, the generation of a master set
    install: int
    profile: str  # the derivation id frozen at issuance
    kvn: int
    card: CardId
    algorithm: str = "AES"
    bits: int = 128
    point: bytes = b""  # of scheme 2: the ephemeral key, 65 bytes, uncompressed
    unlock: bool = False  # a KRK with a fourth member, UNLOCK; no part of the other members' derivation

    def info(self, member: str) -> bytes:
        """The label of one member (ENC, MAC, DEK, UNLOCK): each field behind its 2-byte big-endian length."""
        fields = (
            self.kind.encode("ascii"),
            (P256_SCHEME if self.point else SCHEME).to_bytes(1),
            self.number.to_bytes(4),
            self.install.to_bytes(4),
            self.profile.encode("ascii"),
            self.kvn.to_bytes(1),
            self.algorithm.encode("ascii"),
            self.bits.to_bytes(2),
            member.encode("ascii"),
            self.card.kind.encode("ascii"),
            self.card.value,
            *((self.point,) if self.point else ()),
        )
        return b"".join(len(field).to_bytes(2) + field for field in fields)


@dataclass(frozen=True, slots=True)
class Cryptogram:
    """A card's RND encrypted to its epoch's public key, with what tells how to open it and which set it makes."""

    scheme: int
    epoch: int
    oaep: str  # the OAEP hash, "SHA1"; empty in scheme 2
    kvn: int
    install: int
    value: bytes


def check_label(label: KeyLabel, kind: str) -> None:
    """`VaultError` for a label of another kind, or of keys that no vault makes."""
    if label.kind != kind:
        raise VaultError(f"a label of kind {label.kind} where {kind} belongs")
    sizes = {AES: (128, 192, 256), DES: (128,)}
    if label.bits not in sizes.get(label.algorithm, ()):
        raise VaultError(f"this vault makes no {label.algorithm} keys of {label.bits} bits")


def sealed_rnd(label: KeyLabel, value: bytes) -> Cryptogram:
    """The cryptogram of scheme 1 that makes the set of this label."""
    return Cryptogram(SCHEME, label.number, OAEP_HASH, label.kvn, label.install, value)


def agreed_rnd(label: KeyLabel, point: bytes) -> tuple[Cryptogram, KeyLabel]:
    """The cryptogram of scheme 2 that makes the set of this label, and the label with its point."""
    return Cryptogram(P256_SCHEME, label.number, "", label.kvn, label.install, point), replace(label, point=point)


def check_cryptogram(cryptogram: Cryptogram, label: KeyLabel, *, curve: bool) -> None:
    """`VaultError` for the cryptogram of another set, or of another scheme than that of its epoch's pair."""
    if (cryptogram.scheme, cryptogram.oaep) != ((P256_SCHEME, "") if curve else (SCHEME, OAEP_HASH)):
        raise VaultError(f"a cryptogram of scheme {cryptogram.scheme}, {cryptogram.oaep or 'no OAEP'}: not known here")
    if (cryptogram.epoch, cryptogram.kvn, cryptogram.install) != (label.number, label.kvn, label.install):
        raise VaultError("the cryptogram is that of another key set than the label")
