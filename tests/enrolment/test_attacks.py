"""Who could get a certificate that they should not: each tries it here, over real TLS, and gets none."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import kioskd.edges.enrolments as book
from kioskd.edges.certificates import Role, issue_client
from kioskd.edges.enrolment_door import FROM_ALL, FROM_ONE, Gate
from kioskd.edges.store import BEGIN_WRITING
from kioskd.edges.tls import enrolment_client_context
from kioskd.errors import Malformed, Refusal
from kioskd.rekey.enrolment import CODE_BYTES, ENROL, MAX_REQUEST_BYTES, RENEW, WHOAMI, Code, new_code, read_code
from tests.enrolment.desk import Desk, named, open_desk, request
from tests.loopback import HOST

pytestmark = pytest.mark.slow


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path / "house") as opened:
        yield opened


async def refused(work: Awaitable[object]) -> str:
    """Why nothing was given."""
    with pytest.raises(Refusal) as told:
        await work
    return str(told.value)


def wrong(code: Code) -> Code:
    """A guess at a code's secret part."""
    return Code(code.entry, code.secret[:-1] + ("0" if code.secret[-1] != "0" else "1"))


async def test_whoever_guesses_gets_nothing_and_five_guesses_void_the_code(desk: Desk) -> None:
    code = await desk.code("k1")
    for _ in range(book.ATTEMPTS):
        assert "wrong, used, expired or void" in await refused(desk.enrol(wrong(code)))
    assert "wrong, used, expired or void" in await refused(desk.enrol(code))
    assert await desk.given() == []
    (entry,) = await desk.store.run(book.entries)
    assert entry.state(time.time()) == "void: 5 wrong codes"


async def test_four_wrong_codes_leave_the_right_one_good(desk: Desk) -> None:
    code = await desk.code("k1")
    for _ in range(book.ATTEMPTS - 1):
        await refused(desk.enrol(wrong(code)))
    await desk.enrol(code)
    assert await desk.given() == ["k1"]


async def test_guesses_that_come_all_at_once_are_counted_as_well(desk: Desk) -> None:
    code = await desk.code("k1")
    answers = await asyncio.gather(*(desk.enrol(wrong(code)) for _ in range(FROM_ONE - 1)), return_exceptions=True)
    assert all(isinstance(answer, Refusal) for answer in answers)
    (entry,) = await desk.store.run(book.entries)
    assert entry.attempts == book.ATTEMPTS
    await refused(desk.enrol(code))
    assert await desk.given() == []


async def test_a_code_is_good_once_even_for_two_who_come_at_the_same_moment(desk: Desk) -> None:
    code = await desk.code("k1")
    answers = await asyncio.gather(*(desk.enrol(code) for _ in range(book.ATTEMPTS)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    await refused(desk.enrol(code))
    assert await desk.given() == ["k1"]


async def test_a_code_ends(desk: Desk) -> None:
    code = await desk.code("k1", valid_s=0)
    assert "wrong, used, expired or void" in await refused(desk.enrol(code))
    assert await desk.given() == []


async def test_a_code_that_is_found_after_a_newer_one_was_made_is_void(desk: Desk) -> None:
    older, newer = await desk.code("k1"), await desk.code("k1")
    await refused(desk.enrol(older))
    await desk.enrol(newer)


async def test_a_code_of_a_terminal_that_was_revoked_is_void(desk: Desk) -> None:
    code = await desk.code("k1")
    await desk.revoke("k1")
    await refused(desk.enrol(code))


async def test_a_code_with_no_entry_is_looked_at_as_long_as_one_with_an_entry(desk: Desk) -> None:
    code = await desk.code("k1")
    times = []
    for guess in (wrong(code), Code("0000", code.secret)):
        began = time.process_time()
        await refused(desk.enrol(guess))
        times.append(time.process_time() - began)
    assert times[1] > times[0] / 4, "the slow hash is made in both cases"


async def test_a_request_in_another_s_name_is_refused_and_the_code_stays_good(desk: Desk) -> None:
    code = await desk.code("k1")
    for _ in range(book.ATTEMPTS + 1):
        words = await refused(desk.enrol(code, request(None, named("k2"))))
        assert words == "the code was made for k1, and this terminal is called k2"
    await desk.enrol(code, request(None, named("k1")))


async def test_nothing_that_a_request_asks_for_gets_into_the_certificate(desk: Desk) -> None:
    code = await desk.code("k1", "station")
    greedy = request(
        None,
        {
            NameOID.COMMON_NAME: "k1",
            NameOID.ORGANIZATIONAL_UNIT_NAME: "operator",
            NameOID.ORGANIZATION_NAME: "everybody",
        },
        x509.BasicConstraints(ca=True, path_length=3),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.SubjectAlternativeName([x509.DNSName("access.example")]),
    )
    made = x509.load_pem_x509_certificate((await desk.enrol(code, greedy)).certificate.encode())
    assert [(one.oid, one.value) for one in made.subject] == [
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "station"),
        (NameOID.COMMON_NAME, "k1"),
    ]
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


async def test_a_request_that_its_own_key_did_not_sign_is_refused_before_the_code_is_touched(desk: Desk) -> None:
    code = await desk.code("k1")
    other = ec.generate_private_key(ec.SECP256R1())
    lines = request().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    forged = f"{lines[0]}\n{base64.b64encode(bytes(der)).decode()}\n{lines[-1]}\n"
    for csr in (forged, "", "-----BEGIN CERTIFICATE REQUEST-----", "\x00", request(other)[:-80]):
        await refused(desk.enrol(code, csr))
    (entry,) = await desk.store.run(book.entries)
    assert entry.attempts == 0
    assert await desk.given() == []


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - this one is to be refused
        rsa.generate_private_key(3, 2048),
    ],
    ids=["P-384", "secp256k1", "Ed25519", "RSA of 1024 bits", "RSA with exponent 3"],
)
async def test_a_key_of_another_kind_is_refused(desk: Desk, key: ec.EllipticCurvePrivateKey) -> None:
    assert "key is not taken" in await refused(desk.enrol(await desk.code("k1"), request(key)))
    assert await desk.given() == []


async def test_a_key_of_rsa_2048_is_taken(desk: Desk) -> None:
    await desk.enrol(await desk.code("k1"), request(rsa.generate_private_key(65537, 2048)))
    assert await desk.given() == ["k1"]


async def aged(desk: Desk) -> None:
    """Most of every certificate's life has passed, as the records have it."""
    long_ago = "UPDATE certificates SET begin = begin - 1000000000"
    await desk.store.run(lambda connection: connection.exec_driver_sql(long_ago), BEGIN_WRITING)


async def test_a_terminal_renews_in_time_under_its_own_certificate(desk: Desk) -> None:
    identity = await desk.terminal("k1")
    assert "more than half" in await refused(desk.renew(identity))
    await aged(desk)
    renewed = x509.load_pem_x509_certificate((await desk.renew(identity)).certificate.encode())
    assert renewed.subject.rfc4514_string() == "CN=k1,OU=kiosk"
    assert await desk.given() == ["k1", "k1"]


async def test_a_terminal_renews_for_no_other(desk: Desk) -> None:
    identity = await desk.terminal("k1")
    await aged(desk)
    assert await refused(desk.renew(identity, request(None, named("k2")))) == "k1 may not renew for k2"
    assert await desk.given() == ["k1"]


@pytest.mark.parametrize("role", list(Role))
async def test_a_certificate_that_was_not_given_out_here_is_not_renewed_here(desk: Desk, role: Role) -> None:
    await desk.terminal("k2")
    await aged(desk)
    stranger = issue_client(desk.house.folder / "ca", role, "k2", desk.house.folder / "strangers")
    assert "was not given out here" in await refused(desk.renew(stranger))
    assert await desk.given() == ["k2"]


async def test_one_certificate_is_not_renewed_without_end(desk: Desk) -> None:
    identity = await desk.terminal("k1")
    await aged(desk)
    for _ in range(book.RENEWALS):
        await desk.renew(identity)
    assert "renewed 8 times" in await refused(desk.renew(identity))


async def test_a_thief_who_has_renewed_a_stolen_certificate_is_shut_out_with_the_name(desk: Desk) -> None:
    stolen, key = await desk.terminal("k1"), ec.generate_private_key(ec.SECP256R1())
    await aged(desk)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    thief = desk.keep("thief", pem, await desk.renew(stolen, request(key)))
    assert (await desk.under(thief).ask("GET", WHOAMI))["name"] == "k1"
    await desk.revoke("k1")
    await aged(desk)
    for identity in (stolen, thief):
        for asked in (desk.under(identity).ask("GET", WHOAMI), desk.renew(identity)):
            assert await refused(asked) == "the certificate of k1 was revoked"
    owner = await desk.terminal("k1")
    assert (await desk.under(owner).ask("GET", WHOAMI))["name"] == "k1"
    assert "revoked" in await refused(desk.under(thief).ask("GET", WHOAMI))


async def test_a_certificate_that_is_not_on_record_is_shut_out_with_its_name(desk: Desk) -> None:
    stranger = issue_client(desk.house.folder / "ca", Role.KIOSK, "k3", desk.house.folder / "strangers")
    assert (await desk.under(stranger).ask("GET", WHOAMI))["name"] == "k3"
    await desk.revoke("k3")
    assert "revoked" in await refused(desk.under(stranger).ask("GET", WHOAMI))
    await desk.terminal("k3")
    assert "revoked" in await refused(desk.under(stranger).ask("GET", WHOAMI)), "the new one's good name is not its own"


async def test_revoking_one_shuts_out_no_other_until_it_is_its_turn(desk: Desk) -> None:
    other = await desk.terminal("k2")
    await desk.revoke("k1")
    assert (await desk.under(other).ask("GET", WHOAMI))["name"] == "k2"
    await desk.revoke("k2")
    assert "revoked" in await refused(desk.under(other).ask("GET", WHOAMI))


async def post(desk: Desk, path: str, body: bytes) -> int:
    """The HTTP status of whatever somebody without a certificate sends to the enrolment door."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"https://{HOST}:{desk.door}{path}", data=body, ssl=enrolment_client_context()) as response,
    ):
        return response.status


async def test_without_a_certificate_nothing_but_enrolment_is_answered(desk: Desk) -> None:
    assert await post(desk, RENEW, b"{}") == 404
    assert await post(desk, "/link/1", b"{}") == 404
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"https://{HOST}:{desk.port}{WHOAMI}", ssl=enrolment_client_context())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff" * 100, 400),
        (b"[" * 10000, 400),
        (json.dumps({"code": "7K2M-XQ9D-R4TW-B8NP"}).encode(), 400),
        (json.dumps({"code": 5, "csr": ""}).encode(), 400),
        (json.dumps({"code": "7K2M", "csr": ""}).encode(), 400),
        (json.dumps({"code": "7K2M-XQ9D-R4TW-B8NP", "csr": "", "role": "operator"}).encode(), 400),
        (b" " * (MAX_REQUEST_BYTES + 1), 413),
    ],
)
async def test_whatever_else_comes_is_answered_and_gives_nothing(desk: Desk, body: bytes, status: int) -> None:
    assert await post(desk, ENROL, body) == status
    assert await desk.given() == []


async def test_one_address_is_heard_ten_times_a_minute(desk: Desk) -> None:
    assert [await post(desk, ENROL, b"") for _ in range(FROM_ONE + 1)] == [400] * FROM_ONE + [429]


async def idle(desk: Desk) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which nothing is said."""
    return await asyncio.open_connection(HOST, desk.door, ssl=enrolment_client_context())


async def test_whoever_connects_and_says_nothing_is_hung_up_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.edges.enrolment_door.OPEN_S", 0.5)
    reader, writer = await idle(desk)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_many_silent_connections_do_not_keep_an_honest_terminal_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kioskd.edges.enrolment_door.MOST_OPEN", 3)
    silent = [await idle(desk) for _ in range(6)]
    await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in silent[:3])), 60)
    await desk.enrol(await desk.code("k1"))
    assert await desk.given() == ["k1"]
    for _, writer in silent:
        writer.close()


def test_all_addresses_together_are_heard_sixty_times_a_minute() -> None:
    gate = Gate()
    heard = sum(gate.admits(f"192.0.2.{number}", 1000.0) for number in range(FROM_ALL + 20))
    assert heard == FROM_ALL
    assert not gate.admits("192.0.2.200", 1059.0)
    assert gate.admits("192.0.2.200", 1060.5)


def test_a_gate_does_not_grow_with_the_addresses_that_come() -> None:
    gate = Gate()
    for number in range(5000):
        gate.admits(f"address {number}", float(number))
    assert len(gate.each) <= 1024


@pytest.mark.parametrize("typed", ["7k2m-xq9d-r4tw-b8np", "7K2MXQ9DR4TWB8NP", " 7K2M XQ9D R4TW B8NP\n"])
def test_a_code_may_be_typed_as_people_type(typed: str) -> None:
    assert str(read_code(typed)) == "7K2M-XQ9D-R4TW-B8NP"


@pytest.mark.parametrize("typed", ["", "7K2M", "7K2M-XQ9D-R4TW-B8N!", "7K2M-XQ9D-R4TW-B8NPP"])
def test_what_is_no_code_is_said_so(typed: str) -> None:
    with pytest.raises(Malformed, match="needs 16 letters and digits"):
        read_code(typed)


def test_every_bit_of_a_code_is_in_its_text() -> None:
    codes = {str(new_code((1 << bit).to_bytes(CODE_BYTES))) for bit in range(8 * CODE_BYTES)}
    assert len(codes) == 8 * CODE_BYTES
    assert all(str(read_code(code)) == code for code in codes)
