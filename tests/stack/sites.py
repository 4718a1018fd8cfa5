"""Every place in the shipped code that calls a journal, a store or a batch's file, read from its text."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kioskd
from tests.stack.boundaries import PORTS, calls

SOURCE = Path(kioskd.__file__).parent
HOLDERS = {"journal": ("journal", "_journal"), "store": ("store", "_store"), "batch": ("file", "_file")}
NOT_ROLES = ("sim", "demo", "virtual")
"""Folders in which no role runs: a store of their own, or none."""


def sites() -> set[str]:
    """Such as "journal.keep_report by terminal.tap.TapRun._keep", as boundaries are named."""
    found: set[str] = set()
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).with_suffix("")
        if place.parts[0] not in NOT_ROLES:
            module = ".".join(place.parts)
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {f"{call} by {module}.{where}" for call, where in _calls(tree, "")}
    return found


def _calls(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.ClassDef):
            inside = f"{where}{child.name}."
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{where}{child.name}.<locals>."
        elif isinstance(child, ast.Lambda):
            inside = f"{where}<lambda>.<locals>."
        elif isinstance(child, ast.Attribute):
            name = _port_call(child)
            if name:
                yield name, where.removesuffix(".<locals>.").removesuffix(".")
        yield from _calls(child, inside)


def _port_call(node: ast.Attribute) -> str:
    """The port and its method, if this reads one of a port's methods off something that is called like a port."""
    holder = node.value
    name = holder.attr if isinstance(holder, ast.Attribute) else holder.id if isinstance(holder, ast.Name) else ""
    for port in PORTS:
        if name in HOLDERS[port] and node.attr in calls(port):
            return f"{port}.{node.attr}"
    return ""
