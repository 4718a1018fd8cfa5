"""The floors of the house: every import goes down, foreign libraries stay where they were let in."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "kioskd"

BASE = (
    "errors",
    "outcome",
    "outcomes",
    "outcomes_services",
    "secret",
    "shape",
    "private_file",
    "public_file",
    "proxy",
    "config",
    "strict_yaml",
    "command_line",
    "version",
    "log_fields",
    "under_way",
)
ROLES = ("kiosk", "access", "kms", "station", "custodian", "audit", "hsm", "ca", "demo", "profile")
JOINED = "sim"  # puts roles together, in one process
FLOORS = (
    *((name, 0) for name in BASE),
    ("gp", 1),
    ("rekey", 2),
    ("ports", 3),
    ("drive", 4),
    ("edges", 5),
    ("virtual", 5),
    ("terminal", 6),
    *((name, 7) for name in ROLES),
    (JOINED, 8),
    ("__main__", 9),
)
FLOOR = dict(FLOORS)

PURE = ("gp", "rekey")
IMPURE_MODULES = {"asyncio", "socket", "os", "time", "random", "secrets"}

# Where a library may be imported at all; a library that is not named here may be imported nowhere.
# The operating system's services that count as a library: an edge file holds one of them or one library.
LIBRARIES = {
    "aiohttp": ("edges",),
    "alembic": ("edges",),
    "cryptography": ("gp", "rekey", "edges", "virtual"),
    "pkcs11": ("edges",),
    "prometheus_client": ("edges",),
    "smartcard": ("edges",),
    "sqlalchemy": ("edges",),
    "sqlite3": ("edges",),
    "systemd": ("edges",),
    "rich": ("kiosk",),
    "textual": ("station", "kiosk"),
    "yaml": ("config", "strict_yaml"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by its full dotted name, and whether it happens when the file is loaded."""

    where: str
    module: str
    at_load: bool


def sources() -> list[Path]:
    """Every file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(file: Path, package: Path = PACKAGE) -> tuple[str, ...]:
    """("gp", "apdu") for kioskd/gp/apdu.py; the package itself is ()."""
    parts = file.relative_to(package).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(file: Path, package: Path = PACKAGE) -> Iterator[Import]:
    """Every import of a file, lazy and relative ones too; those for the type checker alone also bind."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(outer)
    }
    inside = ("kioskd", *file.relative_to(package).parts[:-1])
    for node in ast.walk(tree):
        where = f"{file.relative_to(package.parent)}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Import(names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module, names, level):
                base = ".".join(inside[: len(inside) - level + 1]) if level else ""
                origin = ".".join(filter(None, (base, module)))
                # `from kioskd import gp` and `from kioskd.edges import pcsc` name modules too.
                found = [f"{origin}.{alias.name}" for alias in names] if origin.startswith("kioskd") else [origin]
            case ast.Call(ast.Attribute(attr="import_module"), [ast.Constant(str(name)), *_]):
                found = [name]
            case _:
                continue
        for name in found:
            yield Import(where, name, at_load=id(node) not in lazy)


def own_part(module: str) -> str | None:
    """The storey that a kioskd module belongs to: "gp", "ports"; None for foreign ones and the bare package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "kioskd" and len(parts) > 1 else None


def complaints(file: Path, package: Path = PACKAGE) -> list[str]:
    """What a file imports against the rules, one sentence each."""
    name = dotted(file, package)
    if not name:
        return [f"{found.where}: the bare package imports nothing" for found in imports(file, package)]
    mine = name[0]
    if mine not in FLOOR:
        return [f"{file.relative_to(package.parent)}: {mine} has no floor"]
    found_faults = []
    for found in imports(file, package):
        part = own_part(found.module)
        top = found.module.split(".")[0]
        if part is not None:
            fault = _upward(mine, part)
        elif mine in PURE and top in IMPURE_MODULES:
            fault = f"{mine} is pure and may not import {top}"
        elif (top in LIBRARIES or top not in sys.stdlib_module_names) and mine not in LIBRARIES.get(top, ()):
            fault = f"{top} may not be imported in {mine}"
        else:
            fault = None
        if fault:
            found_faults.append(f"{found.where}: {fault}")
    return found_faults


def _upward(mine: str, other: str) -> str | None:
    if other not in FLOOR:
        return f"kioskd.{other} has no floor"
    if mine == other or FLOOR[other] < FLOOR[mine] or (mine in BASE and other in BASE):
        return None
    return f"{mine} (floor {FLOOR[mine]}) may not import {other} (floor {FLOOR[other]})"


def test_a_file_imports_only_what_its_floor_allows() -> None:
    assert [fault for file in sources() for fault in complaints(file)] == []


def test_an_edge_holds_one_foreign_library() -> None:
    crowded = {}
    for file in (PACKAGE / "edges").rglob("*.py"):
        tops = {found.module.split(".")[0] for found in imports(file)} - {"kioskd"}
        foreign = {top for top in tops if top in LIBRARIES or top not in sys.stdlib_module_names}
        if "alembic" in foreign:
            foreign.discard("sqlalchemy")  # whose tables alembic changes, in SQLAlchemy's words
        if len(foreign) > 1:
            crowded[file.name] = sorted(foreign)
    assert crowded == {}


def test_the_command_line_loads_no_role_until_one_is_chosen() -> None:
    main = PACKAGE / "__main__.py"
    loaded = {own_part(found.module) for found in imports(main) if found.at_load}
    assert loaded <= {None, *BASE}, f"loaded at start: {sorted(str(part) for part in loaded)}"
    text = main.read_text(encoding="utf-8")
    assert [role for role in (*ROLES, JOINED) if role not in text] == [], "the command line names every role"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("gp/x.py", "import kioskd.rekey.wire"),
        ("gp/x.py", "def f() -> None:\n    import os"),
        ("rekey/x.py", "from asyncio import sleep"),
        ("rekey/x.py", "from .. import ports"),
        ("edges/x.py", "from ..virtual import card"),
        ("kiosk/x.py", "from kioskd import access"),
        ("station/x.py", "import importlib\nimportlib.import_module('kioskd.kms.vault')"),
        ("kiosk/x.py", "import aiohttp"),
        ("ports.py", "from kioskd.drive import drive"),
        ("errors.py", "from kioskd.gp.apdu import SW"),
        ("edges/x.py", "import requests"),
        ("somewhere/x.py", "import json"),
    ],
)
def test_the_rules_catch_a_wrong_import(place: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "kioskd" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)
    assert len(complaints(file, tmp_path / "kioskd")) == 1


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("gp/x.py", "from cryptography.hazmat.primitives import cmac"),
        ("drive.py", "from kioskd.ports import Card"),
        ("kiosk/x.py", "from kioskd.edges import pcsc"),
        ("edges/x.py", "import smartcard.scard"),
        ("config.py", "import yaml\nfrom kioskd.errors import BadConfiguration"),
    ],
)
def test_the_rules_let_a_right_import_pass(place: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "kioskd" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)
    assert complaints(file, tmp_path / "kioskd") == []
