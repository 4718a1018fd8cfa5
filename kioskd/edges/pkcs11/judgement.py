"""What a token can do inside, tried on throw-away keys: each job stays inside, crosses, or cannot be done.

A mechanism that a token lists may fail, and one that it does not list may work, so each is tried.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, exceptions

from kioskd.edges.pkcs11 import curve, des_keys, templates
from kioskd.edges.pkcs11.card_sets import derived
from kioskd.edges.pkcs11.des_keys import TokenDESKey, TokenDESSet, encrypted_key
from kioskd.edges.pkcs11.keys import TokenKey, session_keys
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_by, unwrap_secret, wrap_secret, wrap_to
from kioskd.errors import VaultError
from kioskd.gp.des import DES_BLOCK_BYTES, DES_KEY_BYTES, SEQUENCE_BYTES, SCP02SessionKeys
from kioskd.gp.keys import KeySet
from kioskd.rekey.labels import DES

_BLOCK = bytes(16)
_OPEN_TO_ALL = templates.recovered_rnd() | {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
_TRIAL_RSA_BITS = 2048
_SESSION_KEYS = "SCP03 session keys of AES-"
_DES_SETS, _DES_SESSION = "3DES sets: derived, diversified", "SCP02 session keys and MACs"
SCP02_PUT_KEY = "PUT KEY fields of SCP02"


class Place(StrEnum):
    """Where a job's secret is while it is done."""

    INSIDE = "inside"
    CROSSES = "crosses"
    IMPOSSIBLE = "not possible"


@dataclass(frozen=True, slots=True)
class Finding:
    """One job of the vault and what was seen; `key` if what crosses is itself a key that opens something."""

    job: str
    place: Place
    words: str
    key: bool = False


def judge(token: Token) -> tuple[Finding, ...]:
    """Every job of the access server's vault, tried in this token; no object stays behind."""
    with token.guard(f"token {token.label}"):
        session = token.session
        return (
            _tried("RND: made, wrapped to a public key, unwrapped", lambda: _oaep(session), "RSA-OAEP with SHA-1"),
            _tried("RND of a P-256 epoch: agreed on twice", lambda: _agree(session), "ECDH1_DERIVE, no KDF"),
            _tried("blocks of a bundle", lambda: _key_wrap(session), "AES key wrap, RFC 3394"),
            _tried("KRK and master keys: derived", lambda: _derive(session), "AES_ECB_ENCRYPT_DATA"),
            Finding("T_j of a KRK", Place.CROSSES, "as the CMAC that it is: a secret that alone opens nothing"),
            _session_keys(session, 128),
            _session_keys(session, 192),
            _session_keys(session, 256),
            _tried("PUT KEY fields", lambda: _put_key(session), "C_WrapKey, AES-CBC"),
            _tried("check values", lambda: _check_value(session), "by AES-ECB, not CKA_CHECK_VALUE"),
            _tried(_DES_SETS, lambda: _des_sets(session), "AES_ and DES3_ECB_ENCRYPT_DATA"),
            _tried(_DES_SESSION, lambda: _des_session(session, _des_macs), "3DES-CBC; states of the MACs cross"),
            _tried(SCP02_PUT_KEY, lambda: _des_session(session, _des_wrap), "C_WrapKey, 3DES-ECB"),
        )


def refuse_leaks(token: Token, bits: int) -> None:
    """`VaultError` if a job of cards with keys of `bits` would let a key leave this token, or cannot be done in it."""
    for one in judge(token):
        other_size = one.job.startswith(_SESSION_KEYS) and one.job != f"{_SESSION_KEYS}{bits}"
        harmless = one.place is Place.INSIDE or (one.place is Place.CROSSES and not one.key)
        if other_size or harmless or one.job in (_DES_SETS, _DES_SESSION, SCP02_PUT_KEY):
            continue
        raise VaultError(f"token {token.label}: strict: {one.job}: {one.place.value}, {one.words}")


def pin_holder(token: Token) -> tuple[str, ...]:
    """What somebody with this token's PIN and its host could do, in words; each was tried on a throw-away key."""
    said = []
    with token.guard(f"token {token.label}"):
        if _readable_child(token.session):
            said.append("derive any card's master keys from a block in a readable form: the block itself stays hidden")
        if _wrong_unwrap(token):
            said.append("unwrap a cryptogram as a readable key, and so read RND")
        if _wrong_agreement(token.session):
            said.append("agree on a readable key with the private key of a P-256 epoch, and so read RND")
        if not _enforces_extractable(token.session):
            said.append("wrap out keys that are marked as not extractable: this token is a stand-in, no boundary")
    return (*said, "use every key that is here for as long as the token is logged in")


def _tried(job: str, trial: Callable[[], None], words: str) -> Finding:
    try:
        trial()
    except exceptions.PKCS11Error as wrong:
        return Finding(job, Place.IMPOSSIBLE, f"{words}: {type(wrong).__name__}")
    return Finding(job, Place.INSIDE, words)


def _session_keys(session: Any, bits: int) -> Finding:
    job = f"{_SESSION_KEYS}{bits}"
    key = session.generate_key(KeyType.AES, bits, store=False, template=templates.card_key())
    static = KeySet(TokenKey(key), TokenKey(key), TokenKey(key))
    try:
        made = session_keys(session, static, bytes(16), bits)
    except exceptions.PKCS11Error as wrong:
        return Finding(job, Place.IMPOSSIBLE, type(wrong).__name__)
    finally:
        key.destroy()
    for one in (made.enc, made.mac, made.rmac):
        one.handle.destroy()  # type: ignore[attr-defined]
    if bits == 128:
        return Finding(job, Place.INSIDE, "by AES_CBC_ENCRYPT_DATA")
    return Finding(job, Place.CROSSES, "as CMACs, for microseconds, and goes back in", key=True)


def _oaep(session: Any) -> None:
    public, private = session.generate_keypair(
        KeyType.RSA,
        _TRIAL_RSA_BITS,
        store=False,
        public_template={Attribute.WRAP: True},
        private_template=templates.unwrapping_private(lasting=False, bounded=False),
    )
    rnd = session.generate_key(KeyType.AES, 256, store=False, template=templates.rnd())

    def work() -> None:
        unwrap_by(private, wrap_to(public, rnd), templates.recovered_rnd()).destroy()

    destroyed_after([public, private, rnd], work)


def _agree(session: Any) -> None:
    public, private = curve.make_pair(session, curve.ephemeral_private())

    def work() -> None:
        made, point = curve.agree_once(session, curve.point_in(public), templates.recovered_rnd())
        made.destroy()
        curve.agree(private, point, templates.recovered_rnd()).destroy()

    destroyed_after([public, private], work)


def _key_wrap(session: Any) -> None:
    wrap = _wrapping_key(session)
    rnd = session.generate_key(KeyType.AES, 256, store=False, template=templates.rnd())

    def work() -> None:
        unwrap_secret(wrap, wrap_secret(wrap, rnd), templates.recovered_rnd()).destroy()

    destroyed_after([wrap, rnd], work)


def _derive(session: Any) -> None:
    rnd = session.generate_key(KeyType.AES, 256, store=False, template=templates.rnd())
    destroyed_after([rnd], lambda: _child(rnd, templates.card_key()).destroy())


def _put_key(session: Any) -> None:
    dek, new = (session.generate_key(KeyType.AES, 128, store=False, template=templates.card_key()) for _ in range(2))
    destroyed_after([dek, new], lambda: dek.wrap_key(new, mechanism=Mechanism.AES_CBC, mechanism_param=_BLOCK))


def _check_value(session: Any) -> None:
    key = session.generate_key(KeyType.AES, 128, store=False, template=templates.card_key())
    destroyed_after([key], lambda: TokenKey(key).encrypt_block(b"\x01" * 16))


def _des_sets(session: Any) -> None:
    made = [session.generate_key(KeyType.AES, 256, store=False, template=templates.recovered_rnd())]

    def work() -> None:
        made.append(derived(made[0], _BLOCK, 128, DES))
        made.append(encrypted_key(made[1], bytes(range(DES_KEY_BYTES)), templates.des_card_key()))

    destroyed_after(made, work)


def _des_macs(keys: SCP02SessionKeys[TokenDESKey], _: Any) -> None:
    keys.rmac.retail_mac(keys.mac.encrypt_single(bytes(DES_BLOCK_BYTES)), _BLOCK)


def _des_wrap(keys: SCP02SessionKeys[TokenDESKey], new: Any) -> None:
    keys.dek.handle.wrap_key(new, mechanism=Mechanism.DES3_ECB)


def _des_session(session: Any, use: Callable[[SCP02SessionKeys[TokenDESKey], Any], None]) -> None:
    new = session.generate_key(KeyType.DES2, store=False, template=templates.des_card_key())
    static = TokenDESSet(TokenDESKey(new), TokenDESKey(new), TokenDESKey(new))

    def work() -> None:
        keys = des_keys.session_keys(static, bytes(SEQUENCE_BYTES))
        try:
            use(keys, new)
        finally:
            des_keys.destroy(keys)

    destroyed_after([new], work)


def _readable_child(session: Any) -> bool:
    block = session.generate_key(KeyType.AES, 256, store=False, template=templates.mkdb() | {Attribute.TOKEN: False})
    open_to_all = templates.card_key() | {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    return destroyed_after([block], lambda: _is_read(lambda: _child(block, open_to_all)))


def _wrong_unwrap(token: Token) -> bool:
    session = token.session
    public, private = session.generate_keypair(
        KeyType.RSA,
        _TRIAL_RSA_BITS,
        store=False,
        public_template={Attribute.WRAP: True},
        private_template=templates.unwrapping_private(lasting=False, bounded=token.bounded),
    )
    rnd = session.generate_key(KeyType.AES, 256, store=False, template=templates.rnd())

    def work() -> bool:
        return _is_read(lambda: unwrap_by(private, wrap_to(public, rnd), _OPEN_TO_ALL))

    return destroyed_after([public, private, rnd], work)


def _wrong_agreement(session: Any) -> bool:
    public, private = curve.make_pair(session, curve.ephemeral_private())
    point = curve.point_in(public)
    return destroyed_after([public, private], lambda: _is_read(lambda: curve.agree(private, point, _OPEN_TO_ALL)))


def _enforces_extractable(session: Any) -> bool:
    wrap = _wrapping_key(session)
    kept = session.generate_key(
        KeyType.AES, 256, store=False, template=templates.rnd() | {Attribute.EXTRACTABLE: False}
    )
    try:
        wrap_secret(wrap, kept)
    except exceptions.PKCS11Error:
        return True
    finally:
        wrap.destroy()
        kept.destroy()
    return False


def _wrapping_key(session: Any) -> Any:
    template = templates.journal_wrap() | {Attribute.TOKEN: False}
    return session.generate_key(KeyType.AES, 256, store=False, template=template)


def _is_read(make: Callable[[], Any]) -> bool:
    """Whether the value of the key that is made can be read."""
    try:
        made = make()
    except exceptions.PKCS11Error:
        return False
    try:
        return bool(made[Attribute.VALUE])
    except exceptions.PKCS11Error:
        return False
    finally:
        made.destroy()


def _child(key: Any, template: templates.Template) -> Any:
    return key.derive_key(
        KeyType.AES, 128, mechanism=Mechanism.AES_ECB_ENCRYPT_DATA, mechanism_param=_BLOCK, template=template
    )
