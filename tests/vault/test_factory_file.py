"""The file of a factory key set."""

from pathlib import Path

import pytest

from kioskd.errors import BadConfiguration, VaultError
from kioskd.gp.factory_keys import FactoryKeys, Method
from kioskd.private_file import write_private
from kioskd.secret import Secret
from kioskd.virtual.custody import read_factory_file
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

ENC, MAC, DEK = "45" * 16, "4D" * 16, "44" * 16
GOOD = f"# batch 7\nENC {ENC}\nMAC {MAC}\n\nDEK {DEK}  # last\n"
VALUES = (Secret(b"E" * 16), Secret(b"M" * 16), Secret(b"D" * 16))


def test_a_factory_file_gives_its_three_keys(tmp_path: Path) -> None:
    write_private(tmp_path / "factory", GOOD.encode())
    assert read_factory_file(tmp_path / "factory") == FactoryKeys(VALUES)


def test_a_factory_file_says_of_what_its_keys_are_and_how_they_are_diversified(tmp_path: Path) -> None:
    write_private(tmp_path / "des", ("ALGORITHM 3DES\n" + GOOD).encode())
    write_private(tmp_path / "master", f"ALGORITHM 3DES\nDIVERSIFIED visa2\nMASTER {ENC}\n".encode())
    assert read_factory_file(tmp_path / "des") == FactoryKeys(VALUES, des=True)
    assert read_factory_file(tmp_path / "master") == FactoryKeys(VALUES[:1], des=True, method=Method.VISA2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ALGORITHM DES\n" + GOOD, "ALGORITHM: one of AES, 3DES, not 'DES'"),
        (f"DIVERSIFIED rot13\nMASTER {ENC}\n", "DIVERSIFIED: one of emv, visa2, visa, kdf3"),
        ("DIVERSIFIED emv\n" + GOOD, "MASTER: is missing"),
        (f"MASTER {ENC}\n" + GOOD, "MASTER: has no place here"),
        (f"ALGORITHM AES\nDIVERSIFIED emv\nMASTER {ENC}\n", "makes 3DES sets"),
        (f"ALGORITHM 3DES\nENC {ENC * 2}\nMAC {ENC * 2}\nDEK {ENC * 2}\n", "a 3DES key has 16 bytes"),
        ("", "ENC: is missing"),
        (f"ENC {ENC}\nMAC {MAC}\n", "DEK: is missing"),
        (GOOD + f"DEK {DEK}\n", "line 6: needs"),
        (f"KEK {ENC}\n", "line 1: needs"),
        (f"ENC {ENC} {ENC}\n", "line 1: needs"),
        ("ENC XYZ\n", "hex digits"),
        ("ENC é\n", "hex digits"),
        (GOOD.replace(DEK, DEK + "44"), "one length"),
        (GOOD.replace(DEK, DEK * 2), "one length"),
    ],
)
def test_a_bad_factory_file_is_a_sentence_without_a_key(tmp_path: Path, text: str, sentence: str) -> None:
    write_private(tmp_path / "factory", text.encode())
    with pytest.raises(BadConfiguration, match=sentence) as caught:
        read_factory_file(tmp_path / "factory")
    assert ENC not in str(caught.value)
    assert str(tmp_path / "factory") in str(caught.value)


def test_a_factory_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "factory", GOOD.encode())
    (tmp_path / "factory").chmod(0o644)
    with pytest.raises(BadConfiguration, match="others may use it"):
        read_factory_file(tmp_path / "factory")


def test_a_name_keeps_its_first_keys(tmp_path: Path) -> None:
    vault = SoftVault.create(tmp_path / "vault", Secret(b"x"), cost=Cost(n=2, r=1), rsa_bits=2048)
    vault.add_factory_set("factory", VALUES)
    vault.add_factory_set("factory", VALUES)
    with pytest.raises(VaultError, match="another under this name"):
        vault.add_factory_set("factory", VALUES[::-1])
    with pytest.raises(VaultError, match="needs a name"):
        vault.add_factory_set("", VALUES)
    assert "45454545" not in repr(vault._held())
