"""JSON whose numbers keep their digits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, List, Mapping


def loads(text: str) -> Any:
    """Parses JSON: a number with a fraction or an exponent is a ``Decimal``."""
    return json.loads(text, parse_float=Decimal)


def dumps(value: object) -> str:
    """Writes JSON: a ``Decimal`` with its digits."""
    parts: List[str] = []
    _write(value, parts)
    return "".join(parts)


def _write(value: object, parts: List[str]) -> None:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("a number is not finite")
        parts.append(str(value))
    elif isinstance(value, Mapping):
        parts.append("{")
        for at, (name, member) in enumerate(value.items()):
            if not isinstance(name, str):
                raise TypeError("the name of a member is not a text")
            parts.append(("," if at else "") + json.dumps(name, ensure_ascii=False) + ":")
            _write(member, parts)
        parts.append("}")
    elif isinstance(value, (list, tuple)):
        parts.append("[")
        for at, item in enumerate(value):
            parts.append("," if at else "")
            _write(item, parts)
        parts.append("]")
    else:
        parts.append(json.dumps(value, ensure_ascii=False, allow_nan=False))
