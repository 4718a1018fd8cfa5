"""`kioskd kms` from the first command to the bundle, each act with its custodians, and what it says to bad input."""

import fcntl
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kioskd.audit.cli import main as audit
from kioskd.custodian.cli import main as custodian
from kioskd.kms.cli import main
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.kms.desk import PEOPLE, PHRASE, Desk

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_the_way_to_an_imported_bundle(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk = stocked
    access = SoftVault.open(desk.folder / "access", PHRASE)
    assert desk.release() == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "Release generation 1 and the issuing keys of epoch 1 to the access server " in said.out
    bundle, key = (desk.folder / "b").read_bytes(), (desk.folder / "kms.pem").read_bytes()
    assert access.import_bundle(bundle, key, int(time.time())).epoch == 1
    assert desk.run("list") == 0
    said = capsys.readouterr()
    assert "Epoch 1: active\n" in said.out
    assert "issue, generation 1, epoch 1" in said.out


def test_arming_names_its_campaign_and_ends_issuing(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.release("--campaign", "leak", "--generation-from", "0", "--campaign-days", "30", act="arm") == 0
    assert "the PRIVATE KEY of epoch 1" in capsys.readouterr().out
    header = json.loads((stocked.folder / "b").read_bytes())["header"]
    assert header["campaign"]["id"] == "leak"
    assert header["campaign"]["not_after"] - header["campaign"]["not_before"] == pytest.approx(30 * 86400, abs=400)
    (stocked.folder / "request").unlink()
    assert stocked.ask("release", "--generation", "1", "--epoch", "1", "--to", "@transport.pem") == 2
    assert "released for replacement" in capsys.readouterr().err
    assert not (stocked.folder / "request").exists()


@pytest.mark.slow
def test_nothing_is_done_before_two_custodians_have_approved(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (stocked.folder / "request").unlink()
    assert stocked.ask("generate") == 0
    for name in PEOPLE[:2]:
        (stocked.folder / f"request.{name}").unlink()
    for who in ((), ("alice",)):
        for name in who:
            assert stocked.approve(name) == 0
        assert stocked.execute(who=who) == 2
        assert f"{len(who)} of 2 have approved" in capsys.readouterr().err
    assert stocked.approve("bob") == 0
    capsys.readouterr()
    assert stocked.execute(who=("bob",)) == 0, "Alice's approval was kept"
    said = capsys.readouterr().out
    assert "Made generation 2." in said and said.count("Next: ") == 1
    assert stocked.execute(who=()) == 2
    assert "the next generation is 3 by now" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "list", "request generate", "execute"])
def test_without_a_transcript_nothing_is_done(stocked: Desk, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = {
        "init": ("--custodian", "alice=@alice.pem", "--custodian", "bob=@bob.pem", "--quorum", "2"),
        "request generate": ("--out", "@other"),
        "execute": ("@request",),
    }
    vault = ("--vault", "@new" if command == "init" else "@kms", "--passphrase-file", "@phrase")
    assert main([*command.split(), *stocked.paths((*vault, *words.get(command, ())))]) == 2
    said = capsys.readouterr()
    assert said.err == "--transcript: is missing: the file in which every ceremony is kept\n" and said.out == ""
    assert not (stocked.folder / "new").exists()


@pytest.mark.parametrize(
    ("act", "details"),
    [
        ("generate", {"generation": "two"}),
        ("epoch", {"epoch": "1", "bits": "many"}),
        ("epoch", {"epoch": "x", "curve": "P-256"}),
        ("destroy", {"epoch": "one", "servers": "none"}),
    ],
)
def test_a_forged_request_whose_words_are_no_numbers_is_refused_in_a_sentence(
    stocked: Desk, act: str, details: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    forged = json.loads((stocked.folder / "request").read_bytes())
    forged |= {"act": act, "details": [{"name": name, "value": details[name]} for name in sorted(details)]}
    (stocked.folder / "forged").write_text(json.dumps(forged))
    assert stocked.execute(name="forged", who=()) == 2
    assert capsys.readouterr().err == "no such request was made here, or it was altered\n"


def test_a_p256_epoch_is_asked_for_in_its_own_words_and_made(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.act("epoch", "--p256") == 0
    said = capsys.readouterr().out
    assert "Make epoch 2: a replacement block and a pair of the curve P-256." in said and "Made epoch 2." in said
    usual = ("--generation", "1", "--epoch", "2", "--to", "@transport.pem")
    assert stocked.act("release", *usual, how=("--to", "@transport.pem", "--out", "@b2")) == 0
    access = SoftVault.open(stocked.folder / "access", PHRASE)
    bundle, key = (stocked.folder / "b2").read_bytes(), (stocked.folder / "kms.pem").read_bytes()
    assert access.import_bundle(bundle, key, int(time.time())).epoch == 2


def test_a_custodian_reads_and_confirms_what_will_happen(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (stocked.folder / "request").unlink()
    (stocked.folder / "request.alice").unlink()
    assert stocked.ask("epoch") == 0
    assert custodian(["show", str(stocked.folder / "request")]) == 0
    assert "Make epoch 2: a replacement block and an RSA pair of 3072 bits." in capsys.readouterr().out
    assert stocked.approve("alice", yes="00") == 2
    assert "that is not the fingerprint of this request; nothing was approved" in capsys.readouterr().err
    assert not (stocked.folder / "request.alice").exists()


@pytest.mark.parametrize("typed", ["", "no\n"])
def test_a_custodian_who_types_nothing_or_something_else_approves_nothing(
    stocked: Desk, typed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    keys = ("--key", "@carol.key", "--passphrase-file", "@phrase", "--name", "carol", "--out", "@new")
    assert custodian(["approve", *stocked.paths(("@request", *keys))]) == 2
    assert "nothing was approved" in capsys.readouterr().err
    assert not (stocked.folder / "new").exists()


def test_an_altered_request_is_refused(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.release() == 0
    (stocked.folder / "b").unlink()
    asked = stocked.folder / "request"
    asked.write_text(asked.read_text().replace('"24"', '"48"'))
    assert stocked.execute("--to", "@transport.pem", "--out", "@b") == 2
    assert "no such request was made here, or it was altered" in capsys.readouterr().err
    assert not (stocked.folder / "b").exists()


def test_another_transport_key_than_the_approved_one_is_refused(
    stocked: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SoftVault.create(tmp_path / "other", PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
    (stocked.folder / "other.pem").write_bytes(other.transport_key())
    usual = ("--generation", "1", "--epoch", "1", "--to", "@transport.pem")
    assert stocked.act("release", *usual, how=("--to", "@other.pem", "--out", "@b")) == 2
    assert "not the transport key whose fingerprint the custodians approved" in capsys.readouterr().err


def test_a_custodian_is_replaced_by_the_others(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    people = ("--custodian", "alice=@alice.pem", "--custodian", "bob=@bob.pem", "--custodian", "mallory=@mallory.pem")
    assert stocked.act("policy", *people, "--quorum", "2") == 0
    for file in stocked.folder.glob("request*"):
        file.unlink()
    assert stocked.ask("generate") == stocked.approve("carol") == stocked.approve("mallory") == 0
    assert stocked.execute(who=("carol",)) == 2
    assert "carol: is no custodian" in capsys.readouterr().err
    assert stocked.approve("alice") == 0
    assert stocked.execute(who=("alice", "mallory")) == 0


# --- the transcript ---------------------------------------------------------------------------------------------------


def verify(desk: Desk, *more: str) -> int:
    """The audit of the desk's transcript."""
    return audit(["verify", *desk.paths(("@transcript", "--kms-key", "@kms.pem", *more))])


def test_the_transcript_is_verified_offline(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(stocked) == 0
    said = capsys.readouterr().out
    assert "9 entries, each signed and in its place." in said
    assert "approved by alice, bob: Make the master block of generation 1." in said
    assert "Now 2 of 3 custodians approve: alice, bob, carol." in said


@pytest.mark.slow
@pytest.mark.parametrize("line", range(9))
@pytest.mark.parametrize("how", ["without", "twice", "altered", "swapped"])
def test_a_transcript_with_a_line_taken_out_doubled_altered_or_swapped_is_refused(
    stocked: Desk, line: int, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stocked.folder / "transcript"
    lines = file.read_bytes().splitlines(keepends=True)
    if how == "without":
        changed = lines[:line] + lines[line + 1 :]
    elif how == "twice":
        changed = [*lines[: line + 1], *lines[line:]]
    elif how == "altered":
        changed = [*lines[:line], lines[line].replace(b'"at":1', b'"at":2', 1), *lines[line + 1 :]]
    else:
        changed = [*lines[:line], *lines[line : line + 2][::-1], *lines[line + 2 :]]
    file.write_bytes(b"".join(changed))
    last = line == len(lines) - 1
    newest = json.loads(lines[-1])["previous"]
    if how == "swapped" and last:
        return
    if how == "without" and last:
        assert verify(stocked) == 0, "a chain does not show what is missing at its end"
        assert stocked.run("list") == 2, "but the vault knows its newest entry"
        assert "is not the newest transcript of this vault" in capsys.readouterr().err
        assert verify(stocked, "--head", newest) == 0
        return
    assert verify(stocked) == 2
    assert "line " in capsys.readouterr().err
    assert stocked.run("list") == 2


def test_a_head_that_was_written_down_shows_what_is_missing_at_the_end(
    stocked: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(stocked) == 0
    head = capsys.readouterr().out.split("Newest: ")[1].split()[0]
    file = stocked.folder / "transcript"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(stocked, "--head", head) == 2
    assert "lines are missing at its end" in capsys.readouterr().err


def test_a_transcript_of_another_server_is_refused(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (stocked.folder / "kms.pem").write_bytes((stocked.folder / "mallory.pem").read_bytes())
    assert verify(stocked) == 2
    assert "was not signed by this key management server" in capsys.readouterr().err


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--generation", "2"), "generation 2: there is none"),
        (("--epoch", "9"), "epoch 9: there is none"),
        (("--generation", "one"), "invalid int"),
        (("--to", "@absent.pem"), "absent.pem: cannot be read"),
        (("--to", "@phrase"), "transport key: is not a public key"),
        (("--out", "@phrase"), "phrase: exists already"),
        (("--out", "@nowhere/new"), "nowhere/new: cannot be written: there is no folder"),
        (("--hours", "0"), "1 to 744"),
        (("--days", "32"), "1 to 31"),
    ],
)
def test_a_bad_request_is_a_sentence_and_exit_code_2(
    stocked: Desk, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (stocked.folder / "transcript").read_bytes()
    usual = ("--generation", "1", "--epoch", "1", "--to", "@transport.pem", "--out", "@new")
    assert stocked.run("request release", *usual, *words) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert (stocked.folder / "transcript").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--quorum", "1"), "a quorum of 1 among 3"),
        (("--quorum", "4"), "a quorum of 4 among 3"),
        (("--custodian", "alice=@bob.pem"), "two custodians have one name or one key"),
        (("--custodian", "dave=@phrase"), "KMS key: is not a public key"),
        (("--custodian", "d e=@mallory.pem"), "a custodian has a name"),
    ],
)
def test_custodians_that_are_none_are_a_sentence(
    stocked: Desk, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (stocked.folder / "kms").unlink()
    (stocked.folder / "transcript").unlink()
    assert stocked.init(*words) == 2
    assert sentence in capsys.readouterr().err
    assert not (stocked.folder / "kms").exists()


def test_bad_files_are_a_sentence_and_exit_code_2(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    phrase = stocked.folder / "phrase"
    assert stocked.init() == 2
    assert "transcript: exists already" in capsys.readouterr().err
    assert stocked.run("request epoch", "--rsa-bits", "512", "--out", "@new") == 2
    assert "2048" in capsys.readouterr().err
    phrase.write_bytes(b"wrong horse\n")
    assert stocked.run("list") == 2
    assert "wrong passphrase" in capsys.readouterr().err
    phrase.chmod(0o644)
    assert stocked.run("list") == 2
    assert "phrase: others may use it (mode 0644)" in capsys.readouterr().err
    (stocked.folder / "kms").write_bytes(b"garbage")
    phrase.chmod(0o600)
    assert stocked.run("list") == 2
    assert "is not a sealed file" in capsys.readouterr().err
    assert main([]) == 2
    (stocked.folder / "request").write_text("{}")
    assert stocked.execute(who=()) == 2
    assert "request: is no request" in capsys.readouterr().err


def test_an_approved_act_is_not_used_up_when_its_file_cannot_be_written(
    stocked: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ("--generation", "1", "--epoch", "1", "--to", "@transport.pem")
    for name in ("request", "request.alice", "request.bob"):
        (stocked.folder / name).unlink()
    assert stocked.ask("release", *usual) == stocked.approve("alice") == stocked.approve("bob") == 0
    assert stocked.execute("--to", "@transport.pem", "--out", "@nowhere/b") == 2
    assert "nowhere/b: cannot be written: there is no folder" in capsys.readouterr().err
    assert stocked.execute("--to", "@transport.pem", "--out", "@b") == 0


def test_a_key_whose_public_half_cannot_be_written_is_not_made(
    stocked: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ("--key", "@new.key", "--passphrase-file", "@phrase", "--public", "@nowhere/new.pem")
    assert custodian(["new-key", *stocked.paths(keys)]) == 2
    assert "nowhere/new.pem: cannot be written: there is no folder" in capsys.readouterr().err
    assert not (stocked.folder / "new.key").exists()


@pytest.mark.slow
def test_two_operators_who_execute_the_same_act_at_once_make_one_generation(stocked: Desk) -> None:
    for name in ("first", "second"):
        assert stocked.ask("generate", name=name) == 0
        assert stocked.approve("alice", name) == stocked.approve("bob", name) == 0
    command = [sys.executable, "-m", "kioskd", "kms", "execute"]
    with (stocked.folder / "transcript").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # both get as far as they can without it
        running = [
            subprocess.Popen(
                [*command, *stocked.paths((f"@{name}", f"@{name}.alice", f"@{name}.bob", *stocked.vault))],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("first", "second")
        ]
        time.sleep(2.5)
        assert [one.poll() for one in running] == [None, None], "both wait for the transcript"
    said = [one.communicate(timeout=60) for one in running]
    assert sorted(one.returncode for one in running) == [0, 2], said
    assert any("the next generation is 3 by now" in err for _, err in said)
    assert stocked.run("list") == 0
