"""The house's keys, made in this process: what the servers' commands do, without starting Python for each.

Here the roles need keys and cards, and it is them that are killed.
"""

import asyncio
import secrets
import shutil
import time
from pathlib import Path

from kioskd.access.campaigns import take_in
from kioskd.config import load_access
from kioskd.kms.release import release
from kioskd.private_file import read_passphrase, write_private
from kioskd.rekey.bundle import BundlePurpose
from kioskd.secret import Secret
from kioskd.virtual.card_memory import FACTORY_KEY
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

CHEAP = Cost(n=2, r=1, p=1)
RSA_BITS = 2048
DAY_S = 86_400


class KeyRoom:
    """Both servers' vaults, in the files that the stage's configurations name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("kms", "access"):
            write_private(folder / f"{name}.pass", secrets.token_urlsafe(24).encode() + b"\n")
        self.kms = SoftKms.create(folder / "kms.vault", read_passphrase(folder / "kms.pass"), CHEAP)
        (folder / "kms.pem").write_bytes(self.kms.public_key())
        file, passphrase = folder / "access.vault", read_passphrase(folder / "access.pass")
        self.vault = SoftVault.create(file, passphrase, cost=CHEAP, rsa_bits=RSA_BITS)
        factory = Secret(FACTORY_KEY[:16])
        self.vault.add_factory_set("factory", KeyValues(factory, factory, factory))

    def new_keys(self) -> None:
        """The next generation, and the next epoch."""
        self.kms.generate()
        self.kms.new_epoch(RSA_BITS)

    def copy(self) -> SoftVault:
        """The access server's vault as it is now, in a file of its own."""
        file = self._folder / "issuer.vault"
        shutil.copy(self._folder / "access.vault", file)
        return SoftVault.open(file, read_passphrase(self._folder / "access.pass"))

    def bring(self, purpose: BundlePurpose, generation: int, epoch: int) -> None:
        """Releases a bundle and takes it in, its campaign into the store."""
        now = int(time.time())
        transport = self.vault.transport_key()
        raw = release(self.kms, purpose, generation, epoch, transport, (now - 60, now + DAY_S), now)
        asyncio.run(take_in(load_access(self._folder / "access.yaml"), self.vault, raw, now))
