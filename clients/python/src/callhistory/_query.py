"""Paths and parameters, as the service reads them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, List, Mapping, Optional, Tuple
from urllib.parse import parse_qs, quote, urlsplit

from ._errors import invalid
from ._json import dumps

# Lists of names. Every other list is a set of values: a,b or !a or *.
NAMES = ("fields", "groupBy")
# The paths below the records, none of which is the ID of a record.
ROUTES = frozenset([".", "..", "batch", "changes", "export", "metrics", "search"])


def path_of(call_id: str) -> str:
    """The path of a record, after that of all records."""
    if not isinstance(call_id, str) or not call_id or call_id in ROUTES:
        raise invalid(f"{call_id!r} is not the ID of a record")
    return "/" + quote(call_id, safe="")


def parameters_of(query: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """The parameters of a query. ``started_after`` is ``startedAfter``; those that are ``None`` are left out."""
    parameters: List[Tuple[str, str]] = []
    for name, value in query.items():
        if value is None:
            continue
        if name == "metadata":
            parameters.extend((f"metadata.{path}", str(text)) for path, text in value.items())
        else:
            wire = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)
            parameters.append((wire, _text_of(wire, value)))
    return parameters


def next_cursor(headers: Mapping[str, str]) -> Optional[str]:
    """The cursor of the next page: a header of its own, or part of ``Link``."""
    own = headers.get("x-next-cursor")
    if own is not None:
        return own
    link = re.search(r"<([^>]*)>[^,<]*;\s*rel=\"?next\"?", headers.get("link", ""))
    cursors = parse_qs(urlsplit(link[1]).query).get("cursor") if link else None
    return cursors[0] if cursors else None


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise invalid(f"{name} has no time zone")
        return value.isoformat()
    if isinstance(value, Mapping):
        return dumps(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        # The service would read a list without items as no filter at all.
        if not value:
            raise invalid(f"{name} has no values")
        if name == "callIds":
            return dumps(list(value))
        return ",".join(str(item) if name in NAMES else _literal(str(item)) for item in value)
    return str(value)


def _literal(value: str) -> str:
    """Escapes a value, so that the service compares it literally."""
    return re.sub(r"[\\,*]|^[! ]", r"\\\g<0>", value)
