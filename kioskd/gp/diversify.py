"""A card's factory set of its vendor's master, in this process's memory; how is said in `factory_keys`."""

from kioskd.gp.aes import AESKey
from kioskd.gp.des import DESKey
from kioskd.gp.factory_keys import Method, diversification_data
from kioskd.gp.keys import BLOCK_BYTES
from kioskd.secret import Secret


def diversified(method: Method, master: Secret, kdd: bytes) -> tuple[Secret, Secret, Secret]:
    """ENC, MAC and DEK of the card with this diversification data of 10 bytes."""
    make = _under_des if method.des else _kdf3
    enc, mac, dek = (make(master, diversification_data(method, kdd, number, len(master))) for number in (1, 2, 3))
    return enc, mac, dek


def _under_des(master: Secret, data: bytes) -> Secret:
    return Secret(DESKey(master).encrypt_block(data))


def _kdf3(master: Secret, data: bytes) -> Secret:
    key, starts = AESKey(master), range(0, len(data), BLOCK_BYTES)
    made = b"".join(key.cmac(data[start : start + BLOCK_BYTES]) for start in starts)
    return Secret(made[: len(master)])
