"""Signed papers: bundles, orders, backups, statements. One JSON object on one line, and a signature over all of it.

There is one way to write a paper, and any other is refused, so that no byte of the file can change unseen. Format only:
who signs, and whose signature counts, is decided elsewhere.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

from kioskd.errors import BadBundle, Malformed
from kioskd.shape import compact, from_plain


@dataclass(frozen=True, slots=True)
class SignedPaper:
    """What all of them have in common; `KIND` names the paper, in errors and before every signed text."""

    KIND: ClassVar[str] = "paper"
    MOST_BYTES: ClassVar[int] = 65536

    signature: bytes = field(default=b"", kw_only=True)

    def signed_part(self) -> bytes:
        """What the signature covers: the paper without it, behind words that no other signed text begins with."""
        return f"kioskd {self.KIND}\n".encode() + compact(self._with(b""))

    def signed(self, sign: Callable[[bytes], bytes]) -> Self:
        """The paper under a signature."""
        return self._with(sign(self.signed_part()))

    def encode(self) -> bytes:
        """The file."""
        return compact(self) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The paper of a file; `BadBundle` for anything that `encode` does not write."""
        if len(raw) > cls.MOST_BYTES:
            raise BadBundle(f"{cls.KIND}: {len(raw)} bytes, at most {cls.MOST_BYTES} are read")
        try:
            paper = from_plain(cls, json.loads(raw), cls.KIND)
        except Malformed as wrong:
            raise BadBundle(str(wrong)) from wrong
        except (ValueError, RecursionError) as wrong:
            raise BadBundle(f"{cls.KIND}: not JSON") from wrong
        if paper.encode() != raw:
            raise BadBundle(f"{cls.KIND}: altered after it was written")
        return paper

    def _with(self, signature: bytes) -> Self:
        return cast(Self, replace(cast(Any, self), signature=signature))
