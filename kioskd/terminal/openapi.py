"""The OpenAPI document of the status API, made from its route table and the dataclasses of its answers."""

import dataclasses
import re
import types
from collections.abc import Sequence
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from kioskd.edges.status_http import Route
from kioskd.terminal.answers import SorryAnswer
from kioskd.version import VERSION

LONGEST_NAME = 200
_SCALARS: dict[Any, dict[str, str]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}
_SORRY = {
    "400": "The request makes no sense",
    "403": "You may not",
    "404": "It is not there",
    "405": "Another method",
    "409": "It cannot be done now",
    "413": "The body is too long",
    "500": "An error of ours",
    "503": "Not now",
}
_OF_NAMES = {"404"}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document, OpenAPI 3.1, in plain values."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kioskd status API",
            "version": VERSION,
            "description": "A terminal's state and a technician's acts, over its Unix socket. GET needs the readers' "
            "group, POST the technicians' group; the kernel tells who asks.",
        },
        "servers": [{"url": "http://local"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    content = _content(route.answers, schemas)
    names = re.findall(r"\{(\w+)\}", route.path)
    sorry = _content(SorryAnswer, schemas)
    responses = {"200": {"description": route.summary, "content": content}}
    for code, words in _SORRY.items():
        if code == "503" and route.well is not None:
            responses[code] = {"description": f"{words}: the same answer tells why", "content": content}
        elif code not in _OF_NAMES or names:
            responses[code] = {"description": words, "content": sorry}
    parameters = [_parameter(name, "path") for name in names] + [_parameter(name, "query") for name in route.query]
    return {
        "operationId": re.sub(r"\W+", "-", f"{route.method.lower()}{route.path}").strip("-"),
        "summary": route.summary,
        "tags": ["act" if route.acts else "read"],
        **({"parameters": parameters} if parameters else {}),
        "responses": responses,
    }


def _parameter(name: str, where: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _content(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, str):  # a content type
        return {kind: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schema_of(kind, schemas)}}


def schema_of(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type; the dataclasses that it needs are added to `schemas`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return dict(_SCALARS[kind])
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if one is type(None) else schema_of(one, schemas) for one in args]}
    if origin is tuple:
        return {"type": "array", "items": schema_of(args[0], schemas)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(args[1], schemas)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [one.value for one in kind]}
    return _record(kind, schemas)


def _record(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in schemas:
        schemas[name] = {}  # it may hold itself
        hints = get_type_hints(kind)
        fields = [field.name for field in dataclasses.fields(kind)]
        schemas[name] = {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "properties": {field: schema_of(hints[field], schemas) for field in fields},
            "required": fields,
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{name}"}
