"""Where an export goes on after a broken connection."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Dict, Mapping, Optional, Set

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The first second after the last time that the service knows.
TIME_END = 9_151_488_000
NANOSECOND = Decimal("0.000000001")


class Seen:
    """The second of the last record, and the records of this second."""

    def __init__(self) -> None:
        self.second: Optional[int] = None
        self._ids: Set[str] = set()

    def is_new(self, call: Mapping[str, Any]) -> bool:
        call_id = call.get("_id", "")
        if call_id in self._ids:
            return False
        second = second_of(call)
        if second is not None and second != self.second:
            self._ids.clear()
            self.second = second
        self._ids.add(call_id)
        return True

    def rest_of(self, query: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
        """The query from the second of the last record on; ``None`` if the service cannot be asked for it."""
        if self.second is None:
            return dict(query)
        if query.get("sort", "-startTime") != "-startTime" or query.get("fields") is not None:
            return None
        if query.get("started_before") is None:
            return {**query, "started_before": EPOCH + timedelta(seconds=self.second + 1)}
        if query.get("date_range") is None:
            # A range includes its end.
            end = (EPOCH + timedelta(seconds=self.second)).strftime("%Y-%m-%dT%H:%M:%S.999999999Z")
            return {**query, "date_range": {"to": end}}
        return None


def second_of(call: Mapping[str, Any]) -> Optional[int]:
    """The whole second of the time that an export is sorted by. The service compares nanoseconds."""
    start = call.get("startTime")
    if isinstance(start, (int, Decimal)) and 0 <= start < TIME_END:
        return int(Decimal(start).quantize(NANOSECOND, ROUND_HALF_EVEN))
    created = re.fullmatch(r"(.{19})(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", str(call.get("createdAt", "")))
    if created is None:
        return None
    zone = "+00:00" if created[2] in "Zz" else created[2]
    return int((datetime.fromisoformat(created[1] + zone) - EPOCH).total_seconds())
