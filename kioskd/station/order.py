"""Which batch is meant: an order in YAML, the batch's own file, or a name beside the station's journal."""

import re
from dataclasses import dataclass
from pathlib import Path

from kioskd.config import load_yaml
from kioskd.edges.batch_file import MOST_CARDS
from kioskd.errors import BadConfiguration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SUFFIX = ".batch"


@dataclass(frozen=True, slots=True)
class _OrderFile:
    """A batch as somebody ordered it."""

    count: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A batch's file, its name, and how many cards are wanted; 0: as many as the file says."""

    path: Path
    name: str
    wanted: int = 0


def order_of(text: str, folder: Path | None, count: int = 0) -> Order:
    """The batch that `--batch` and `--count` name; `BadConfiguration` if they name none.

    FILE.yaml is an order, whose batch is FILE.batch beside it; a path is the batch's file; a name is NAME.batch in
    `folder`.
    """
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        asked = load_yaml(_OrderFile, path)
        count, name = count or _whole(f"{path}: count", asked.count), asked.name or path.stem
        return Order(_in_folder(path.with_suffix(SUFFIX)), name, _whole("--count", count))
    count = _whole("--count", count) if count else 0
    if "/" in text or text.endswith(SUFFIX):
        return Order(_in_folder(Path(text)), Path(text).stem, count)
    if not _NAME.fullmatch(text):
        raise BadConfiguration(f"--batch: needs FILE.yaml, FILE{SUFFIX} or a name of letters and digits, not {text!r}")
    if folder is None:
        raise BadConfiguration(f"--batch: the name {text} needs --config; or give the batch's file")
    return Order(folder / f"{text}{SUFFIX}", text, count)


def _whole(what: str, count: int) -> int:
    if not 1 <= count <= MOST_CARDS:
        raise BadConfiguration(f"{what}: a batch has 1 to {MOST_CARDS} cards, not {count}")
    return count


def _in_folder(path: Path) -> Path:
    if not path.absolute().parent.is_dir():
        raise BadConfiguration(f"--batch: {path.parent} is not a folder")
    return path
