"""A master block for the card management system: the custodians read what they give away."""

import pytest

from kioskd.rekey.master_bundle import MasterBundle
from tests.kms.desk import Desk


def test_the_custodians_read_what_they_give_away(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.ask("share", "--generation", "9", "--to", "@transport.pem", name="none") == 2
    assert "generation 9: there is none" in capsys.readouterr().err
    to = ("--to", "@transport.pem")
    assert stocked.act("share", "--generation", "1", *to, how=(*to, "--out", "@shared")) == 0
    said = capsys.readouterr().out
    assert "Give the MASTER BLOCK of generation 1 to the card management system " in said
    assert MasterBundle.decode((stocked.folder / "shared").read_bytes()).header.generation == 1
    for old in stocked.folder.glob("request*"):
        old.unlink()
    assert stocked.ask("share", "--generation", "1", *to) == stocked.approve("alice") == 0
    assert stocked.execute(*to, "--out", "@again", who=("alice",)) == 2
    assert not (stocked.folder / "again").exists()
