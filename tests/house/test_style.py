"""The style of the house, where a program can judge it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION = 70
LONGEST_MODULE = 400
MOST_METHODS = 10
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
TEXT_FOLDERS = (".ci", "config", "debian", "docs", "kioskd", "lock", "systemd", "tests")
# Spelled in pieces, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile("/wo" + r"rk/|/ro" + r"ot/\.|/ho" + r"me/\w"),
    "a folder outside the project": re.compile(r"\.\./sha" + "red"),
}
NO_HOSTS = re.compile("http" + r"s?://|index" + "-url")

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files() -> list[Path]:
    """Every Python file of the package and its tests."""
    return sorted(file for folder in ("kioskd", "tests") for file in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """Every text file that is the project's own."""
    yield from (file for file in ROOT.iterdir() if file.is_file() and file.name != ".git")  # a file in a git worktree
    for folder in TEXT_FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and not {"__pycache__", ".egg-info"} & set(file.parts):
                yield file


def parsed(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def named(file: Path) -> str:
    """A file as the tests name it."""
    return str(file.relative_to(ROOT))


def public(name: str) -> bool:
    """Whether a name is part of what a module offers."""
    return not name.startswith("_")


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Public functions, classes and methods without a docstring; what others' names override may be silent."""
    for node in body:
        if isinstance(node, ast.ClassDef) and public(node.name):
            if ast.get_docstring(node) is None:
                yield prefix + node.name
            yield from undocumented(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, type_of_function) and public(node.name):
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            if ast.get_docstring(node) is None and not decorators & {"overload", "override", "setter"}:
                yield prefix + node.name


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, nested ones and methods too."""
    return (node for node in ast.walk(parsed(file)) if isinstance(node, type_of_function))


def methods(node: ast.ClassDef) -> list[str]:
    """The public methods of a class; a property is a value, not a method."""
    return [
        member.name
        for member in node.body
        if isinstance(member, type_of_function)
        and public(member.name)
        and not {"property", "cached_property", "setter", "overload"}
        & {ast.unparse(decorator).split(".")[-1] for decorator in member.decorator_list}
    ]


def imported(file: Path) -> set[str]:
    """The modules that a file imports, as it writes them."""
    nodes = list(ast.walk(parsed(file)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_a_module_fits_on_a_few_screens() -> None:
    lengths = {named(file): len(file.read_text(encoding="utf-8").splitlines()) for file in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_a_function_fits_on_one_screen() -> None:
    lengths = {
        f"{named(file)}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in python_files()
        for node in functions(file)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_a_class_does_one_thing() -> None:
    widths = {
        f"{named(file)}: {node.name}": len(methods(node))
        for file in python_files()
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
    }
    assert {name: count for name, count in widths.items() if count > MOST_METHODS} == {}


def test_a_file_is_named_for_what_is_in_it() -> None:
    assert [
        named(file) for file in python_files() if EMPTY_NAMES & set(file.relative_to(ROOT).with_suffix("").parts)
    ] == []


def test_what_is_public_says_what_it_is() -> None:
    missing = []
    for file in sorted((ROOT / "kioskd").rglob("*.py")):
        tree = parsed(file)
        if tree.body and ast.get_docstring(tree) is None:
            missing.append(f"{named(file)}: the module")
        missing += [f"{named(file)}: {name}" for name in undocumented(tree.body)]
    assert missing == []


def test_a_test_uses_the_real_thing_or_a_stand_in_that_ships() -> None:
    fakes = {"mock", "unittest.mock", "unittest"}
    assert [named(file) for file in python_files() if imported(file) & fakes] == []


def test_no_file_names_a_machine_or_a_place_outside_the_project() -> None:
    found = [
        f"{named(file)}: {what}"
        for file in text_files()
        for what, pattern in FORBIDDEN.items()
        if pattern.search(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_set_up_and_locks_name_no_host() -> None:
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "lock").iterdir(), *(ROOT / ".ci").iterdir()]
    allowed = {"Makefile"}  # it tells uv to leave them out
    found = [named(f) for f in files if f.name not in allowed and NO_HOSTS.search(f.read_text(encoding="utf-8"))]
    assert found == []


def test_every_locked_package_has_a_hash() -> None:
    for lock in (ROOT / "lock").glob("*.txt"):
        for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
            assert entry.startswith("#") or "--hash=sha256:" in entry, f"{lock.name}: {entry.splitlines()[0]}"
