"""What makes each derived key unlike every other: the label that goes into its derivation, and the cryptogram."""

from dataclasses import dataclass

from kioskd.errors import VaultError
from kioskd.gp.cplc import CardId

SCHEME = 1
"""The derivation scheme of this file; it stands in every label and every stored cryptogram."""


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

    def info(self, member: str) -> bytes:
        """The label of one member (ENC, MAC, DEK, UNLOCK): each field behind its 2-byte big-endian length."""
        fields = (
            self.kind.encode("ascii"),
            SCHEME.to_bytes(1),
            self.number.to_bytes(4),
            self.install.to_bytes(4),
            self.profile.encode("ascii"),
            self.kvn.to_bytes(1),
            self.algorithm.encode("ascii"),
            self.bits.to_bytes(2),
            member.encode("ascii"),
            self.card.kind.encode("ascii"),
            self.card.value,
        )
        return b"".join(len(field).to_bytes(2) + field for field in fields)


@dataclass(frozen=True, slots=True)
class Cryptogram:
    """A card's RND encrypted to its epoch's public key, with what tells how to open it and which set it makes."""

    scheme: int
    epoch: int
    oaep: str  # the OAEP hash, "SHA1"
    kvn: int
    install: int
    value: bytes


def check_label(label: KeyLabel, kind: str) -> None:
    """`VaultError` for a label of another kind, or of keys that no vault makes."""
    if label.kind != kind:
        raise VaultError(f"a label of kind {label.kind} where {kind} belongs")
    if label.algorithm != "AES" or label.bits not in (128, 192, 256):
        raise VaultError(f"this vault makes no {label.algorithm} keys of {label.bits} bits")
