"""Configuration in YAML, checked into types at start. One sentence says what is wrong: `FILE: section.key: reason`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from kioskd.errors import BadConfiguration
from kioskd.private_file import read_private
from kioskd.proxy import proxy_address
from kioskd.shape import ShapeError, from_plain
from kioskd.strict_yaml import StrictLoader

T = TypeVar("T")

CREDENTIAL = "credential:"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_LEVELS = ("01", "03", "11", "13", "33")
_LONGEST_S = 600.0
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ServerSection:
    """Where the access server is; `name` is what its certificate must say, the host if it is empty.

    A tap waits `patience_s` for the link, where there is none. `proxy` is http://HOST:PORT, or empty.
    """

    host: str
    port: int
    name: str = ""
    patience_s: float = 3.0
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class TlsSection:
    """Files of the TLS identity: absolute paths, or credential:NAME for a systemd credential."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class ReaderSection:
    """Which readers are this terminal's: all whose name contains these words; empty for every one."""

    name_contains: str = ""
    transmit_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class PolicySection:
    """The relay's allow-list, in hex: application names, the least security level, GET DATA tags."""

    aids: tuple[str, ...] = ("A000000151000000",)
    level: str = "33"
    tags: tuple[str, ...] = ("9F7F", "66", "E0", "42", "45", "CF")
    executive: bool = False  # SEAL, UNLOCK and RELOCK as well, of cards that have an executive


@dataclass(frozen=True, slots=True)
class StatusSection:
    """Groups of this system: whose members may read the status socket, and whose may act there too."""

    readers: str = "kioskd-status"
    technicians: str = "kioskd-technician"


@dataclass(frozen=True, slots=True)
class TerminalConfig:
    """A kiosk or an issuing station."""

    name: str
    server: ServerSection
    tls: TlsSection
    journal: str
    socket: str
    reader: ReaderSection = ReaderSection()
    policy: PolicySection = PolicySection()
    status: StatusSection = StatusSection()
    trace: str = ""  # a file for redacted records of every card's commands; empty: none


@dataclass(frozen=True, slots=True)
class ListenSection:
    """Where the access server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TokenSection:
    """A PKCS#11 token: its module, its label, the private file of its PIN.

    `configuration` is SoftHSM2's file, `parameters` are NSS's; `strict` refuses a token that would let a key leave,
    `trusted` an epoch whose public key the security officer has not marked.
    """

    module: str
    label: str
    pin: str
    configuration: str = ""
    parameters: str = ""
    strict: bool = False
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class VaultSection:
    """The KMS's public key, and the vault: a sealed file with the file of its passphrase, or a token."""

    kms_key: str
    file: str = ""
    passphrase: str = ""
    token: TokenSection | None = None


@dataclass(frozen=True, slots=True)
class KmsSection:
    """Where the key management server is, and the client certificate (role access) that it knows this server by."""

    host: str
    port: int
    certificate: str
    key: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class EnrolmentSection:
    """Where new terminals enrol, and the authority that signs for them: its certificate, and its key, a private file.

    `url` is what technicians type; empty: made of the server certificate's first name and the port.
    """

    port: int
    ca: str
    ca_key: str
    host: str = ""  # empty: that of `listen`
    url: str = ""
    days: float = 397.0

    def __post_init__(self) -> None:
        if not 0 < self.days <= 3650:
            raise ValueError("days: needs a number above 0, at most 3650")
        if self.url and not self.url.startswith("https://"):
            raise ValueError("url: needs the scheme https, a host and a port")


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """The access server; `store` is a database URL."""

    listen: ListenSection
    tls: TlsSection
    store: str
    vault: VaultSection
    socket: str
    rotate_krk: bool = False  # a replaced card also gets a replacement set of the newest epoch that issues
    profiles: str = ""  # a folder of card profiles; empty: AES-128 cards of SCP03 with two slots
    kms: KmsSection | None = None  # where bundles are fetched from; otherwise they come as files
    enrolment: EnrolmentSection | None = None  # absent: no terminal is enrolled or renewed here


@dataclass(frozen=True, slots=True)
class KeeperSection:
    """The key management server's vault: a sealed file with the file of its passphrase, or a token."""

    file: str = ""
    passphrase: str = ""
    token: TokenSection | None = None


@dataclass(frozen=True, slots=True)
class KmsConfig:
    """The key management server as a service; released bundles wait for their access server in the folder `outbox`."""

    listen: ListenSection
    tls: TlsSection
    vault: KeeperSection
    transcript: str
    outbox: str
    socket: str


def load_terminal(path: Path) -> TerminalConfig:
    """A kiosk's or station's configuration, with its key files looked at; `BadConfiguration` otherwise."""
    config = load_yaml(TerminalConfig, path)
    _check_name(path, "name", config.name)
    _check_host(path, "server.host", config.server.host)
    _check_port(path, "server.port", config.server.port)
    if config.server.name:
        _check_host(path, "server.name", config.server.name)
    if config.server.proxy:
        try:
            proxy_address(config.server.proxy)
        except BadConfiguration as wrong:
            raise _wrong(path, "server.proxy", str(wrong)) from wrong
    _check_tls(path, config.tls, "; a new terminal gets it by `kioskctl enrol`")
    for key, text in (("journal", config.journal), ("socket", config.socket)):
        _check_folder(path, key, text)
    _check_policy(path, config.policy)
    _check_seconds(path, "reader.transmit_timeout_s", config.reader.transmit_timeout_s)
    _check_seconds(path, "server.patience_s", config.server.patience_s)
    for key, group in (("status.readers", config.status.readers), ("status.technicians", config.status.technicians)):
        if not _GROUP.fullmatch(group):
            raise _wrong(path, key, f"needs the name of a group, 1 to 32 letters, digits, dashes, not {group[:40]!r}")
    if config.trace:
        _check_folder(path, "trace", config.trace)
    return config


def load_access(path: Path) -> AccessConfig:
    """The access server's configuration, with its key files looked at; `BadConfiguration` otherwise."""
    config = load_yaml(AccessConfig, path)
    _check_host(path, "listen.host", config.listen.host)
    _check_port(path, "listen.port", config.listen.port)
    _check_tls(path, config.tls)
    _check_vault(path, config.vault)
    _check_folder(path, "socket", config.socket)
    if config.kms is not None:
        _check_kms(path, config.kms)
    if config.enrolment is not None:
        _check_port(path, "enrolment.port", config.enrolment.port)
        _check_readable(path, "enrolment.ca", config.enrolment.ca)
        _check_private(path, "enrolment.ca_key", config.enrolment.ca_key)
    if config.profiles and not _check_absolute(path, "profiles", config.profiles).is_dir():
        raise _wrong(path, "profiles", f"{config.profiles} is no folder")
    if "://" not in config.store:
        raise _wrong(path, "store", "needs a database URL, such as sqlite:////var/lib/kioskd/access.db")
    scheme, _, place = config.store.partition("://")
    if scheme.startswith("sqlite"):
        _check_folder(path, "store", place.removeprefix("/").partition("?")[0])
    return config


def load_kms(path: Path) -> KmsConfig:
    """The key management server's configuration, with its key files looked at; `BadConfiguration` otherwise."""
    config = load_yaml(KmsConfig, path)
    _check_host(path, "listen.host", config.listen.host)
    _check_port(path, "listen.port", config.listen.port)
    _check_tls(path, config.tls)
    _check_keeper(path, config.vault)
    _check_readable(path, "transcript", config.transcript)
    _check_folder(path, "socket", config.socket)
    if not _check_absolute(path, "outbox", config.outbox).is_dir():
        raise _wrong(path, "outbox", f"{config.outbox} is no folder")
    return config


def file_of(text: str) -> Path:
    """The file that a path or credential:NAME stands for."""
    if text.startswith(CREDENTIAL):
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(folder) / text.removeprefix(CREDENTIAL)
    return Path(text)


def load_yaml(kind: type[T], path: Path) -> T:
    """A `kind` from a YAML file; `BadConfiguration` names the file and the line or key that is wrong."""
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be read: {wrong.strerror}") from wrong
    except UnicodeDecodeError as wrong:
        raise BadConfiguration(f"{path}: is not text") from wrong
    except yaml.MarkedYAMLError as wrong:
        line = f"line {wrong.problem_mark.line + 1}: " if wrong.problem_mark else ""
        raise BadConfiguration(f"{path}: {line}{wrong.problem or 'is not YAML'}") from wrong
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as wrong:
        raise BadConfiguration(f"{path}: is not YAML") from wrong
    try:
        return from_plain(kind, plain)
    except ShapeError as wrong:
        raise BadConfiguration(f"{path}: {wrong}") from wrong


def _wrong(path: Path, key: str, reason: str) -> BadConfiguration:
    return BadConfiguration(f"{path}: {key}: {reason}")


def _check_name(path: Path, key: str, text: str) -> None:
    if not _NAME.fullmatch(text):
        raise _wrong(path, key, "needs 1 to 64 letters, digits, dots, dashes or underscores")


def _check_port(path: Path, key: str, port: int) -> None:
    if not 0 < port < 65536:
        raise _wrong(path, key, f"{port} is not a port, from 1 to 65535")


def _check_host(path: Path, key: str, text: str) -> None:
    if not _HOST.fullmatch(text):
        raise _wrong(path, key, f"needs a host name or address, without scheme and port, not {text[:40]!r}")


def _check_seconds(path: Path, key: str, seconds: float) -> None:
    if not 0 < seconds <= _LONGEST_S:
        raise _wrong(path, key, f"needs a number of seconds above 0, at most {_LONGEST_S:g}")


def _check_policy(path: Path, policy: PolicySection) -> None:
    if policy.level not in _LEVELS:
        raise _wrong(path, "policy.level", f"needs one of {', '.join(_LEVELS)} in quotes, not {policy.level[:20]!r}")
    for key, items, least, most in (("policy.aids", policy.aids, 5, 16), ("policy.tags", policy.tags, 1, 2)):
        for item in items:
            if not _HEX.fullmatch(item) or not least <= len(item) // 2 <= most:
                reason = f"needs {least} to {most} bytes in hex, each in quotes, not {item[:40]!r}"
                raise _wrong(path, key, reason)


def _check_tls(path: Path, tls: TlsSection, absent: str = "") -> None:
    _check_readable(path, "tls.ca", tls.ca, absent)
    _check_readable(path, "tls.certificate", tls.certificate, absent)
    _check_private(path, "tls.key", tls.key)


def _check_kms(path: Path, kms: KmsSection) -> None:
    _check_host(path, "kms.host", kms.host)
    _check_port(path, "kms.port", kms.port)
    if kms.name:
        _check_host(path, "kms.name", kms.name)
    _check_readable(path, "kms.certificate", kms.certificate)
    _check_private(path, "kms.key", kms.key)


def _check_vault(path: Path, vault: VaultSection) -> None:
    _check_keeper(path, vault)
    _check_readable(path, "vault.kms_key", vault.kms_key)


def _check_keeper(path: Path, vault: VaultSection | KeeperSection) -> None:
    token = vault.token
    if (token is None) == (not vault.file):
        raise _wrong(path, "vault", "needs either file and passphrase, or token")
    if token is None:
        _check_folder(path, "vault.file", vault.file)
        _check_private(path, "vault.passphrase", vault.passphrase)
    else:
        _check_readable(path, "vault.token.module", token.module)
        _check_private(path, "vault.token.pin", token.pin)
        if token.configuration:
            _check_readable(path, "vault.token.configuration", token.configuration)
        if not 1 <= len(token.label.encode()) <= 32:
            raise _wrong(path, "vault.token.label", "needs 1 to 32 bytes")


def _check_absolute(path: Path, key: str, text: str) -> Path:
    if text.startswith(CREDENTIAL) and "CREDENTIALS_DIRECTORY" not in os.environ:
        raise _wrong(path, key, f"{text} is a systemd credential, and systemd did not start this")
    if not text.startswith(CREDENTIAL) and not text.startswith("/"):
        raise _wrong(path, key, f"{text or 'nothing'} is not an absolute path")
    return file_of(text)


def _check_readable(path: Path, key: str, text: str, absent: str = "") -> None:
    file = _check_absolute(path, key, text)
    try:
        file.read_bytes()
    except OSError as wrong:
        advice = absent if isinstance(wrong, FileNotFoundError) else ""
        raise _wrong(path, key, f"{file} cannot be read: {wrong.strerror}{advice}") from wrong


def _check_private(path: Path, key: str, text: str) -> None:
    try:
        read_private(_check_absolute(path, key, text))
    except BadConfiguration as wrong:
        if str(wrong).startswith(f"{path}: "):
            raise
        raise _wrong(path, key, str(wrong)) from wrong


def _check_folder(path: Path, key: str, text: str) -> None:
    folder = _check_absolute(path, key, text).parent
    if not folder.is_dir():
        raise _wrong(path, key, f"{folder} is not a folder")
