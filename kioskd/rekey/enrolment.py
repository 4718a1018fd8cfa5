"""Enrolment's own words: one-time codes, what goes over HTTPS, and when a certificate is due to be renewed."""

from dataclasses import dataclass

from kioskd.errors import Malformed

ENROL, RENEW, WHOAMI = "/enrol", "/renew", "/whoami"

MAX_REQUEST_BYTES = 16 << 10
"""What a request for a certificate may take up: RSA of 4096 bits needs two thousand."""

ROLES = ("kiosk", "station")
"""Who may be enrolled; people and servers get their certificates from `kioskd ca`."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O, U: read aloud and typed by hand
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_GROUP = 4
CODE_BYTES = 10
"""Random bytes of a code: 20 bits find its entry, 60 are secret."""


@dataclass(frozen=True, slots=True)
class Code:
    """A one-time code: the part that finds its entry, and the secret part, of which only a slow hash is kept."""

    entry: str
    secret: str

    def __str__(self) -> str:
        whole = self.entry + self.secret
        return "-".join(whole[at : at + _GROUP] for at in range(0, len(whole), _GROUP))

    def __repr__(self) -> str:
        return f"<Code {self.entry}-…>"


def new_code(random: bytes) -> Code:
    """The code of ten random bytes."""
    assert len(random) == CODE_BYTES
    number = int.from_bytes(random)
    text = "".join(_ALPHABET[number >> 5 * at & 31] for at in range(CODE_BYTES * 8 // 5))
    return Code(text[:_GROUP], text[_GROUP:])


def read_code(text: str) -> Code:
    """What a person typed, in either case, with or without dashes and spaces; `Malformed` if it is no code."""
    plain = text.strip().upper().translate(_MISREAD)
    if len(plain) != CODE_BYTES * 8 // 5 or not set(plain) <= set(_ALPHABET):
        raise Malformed("the code: needs 16 letters and digits, such as 7K2M-XQ9D-R4TW-B8NP")
    return Code(plain[:_GROUP], plain[_GROUP:])


@dataclass(frozen=True, slots=True)
class Enrolling:
    """A new terminal asks for its certificate: the code, and its signing request, PEM."""

    code: str
    csr: str


@dataclass(frozen=True, slots=True)
class Renewing:
    """A terminal asks for its next certificate, over a connection under its present one."""

    csr: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A terminal's certificate, and the authorities that it is to trust, both PEM."""

    certificate: str
    ca: str


@dataclass(frozen=True, slots=True)
class Whoami:
    """Under which certificate a terminal came."""

    name: str
    role: str
    serial: str


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a certificate begins and ends, in seconds since 1970."""

    begin: int
    end: int

    def due(self) -> float:
        """When it is to be renewed: a third of its life is left then."""
        return self.end - (self.end - self.begin) / 3

    def early(self, now: float) -> bool:
        """Whether it is too early for the server to renew it: more than half of its life is left."""
        return now < self.end - (self.end - self.begin) / 2
