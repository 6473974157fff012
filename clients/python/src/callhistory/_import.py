"""Imports, in requests of bounded size."""

from __future__ import annotations

from typing import Any, List, Mapping, cast

from ._contract import ImportReport
from ._errors import invalid
from ._json import dumps
from ._results import ImportProgress

REQUEST_RECORDS = 500
REQUEST_BYTES = 4 * 1024 * 1024
ATOMIC_RECORDS = 10_000
ATOMIC_BYTES = 32 * 1024 * 1024
MAX_ERRORS = 1_000
COUNTS = "created replaced merged unchanged stale deleted repeated skipped rejected warned".split()


class Batch:
    """The records of the next request, and what was written before."""

    def __init__(self, is_atomic: bool) -> None:
        report: Any = {**dict.fromkeys(COUNTS, 0), "aborted": False, "errors": [], "warnings": []}
        self.written = ImportProgress(0, report)
        self._is_atomic = is_atomic
        self._lines: List[str] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, call: Mapping[str, Any]) -> bool:
        """Adds a record. Whether the request is full."""
        try:
            line = dumps(call) + "\n"
        except (TypeError, ValueError) as error:
            raise invalid("a record is not JSON") from error
        self._lines.append(line)
        self._bytes += len(line.encode())
        if not self._is_atomic:
            return len(self._lines) == REQUEST_RECORDS or self._bytes >= REQUEST_BYTES
        if len(self._lines) > ATOMIC_RECORDS or self._bytes > ATOMIC_BYTES:
            raise invalid("an atomic import has at most 10,000 records and 32 MiB")
        return False

    def body(self) -> str:
        return "".join(self._lines)

    def done(self, part: Mapping[str, Any]) -> ImportProgress:
        """Adds the report of the request."""
        report: Any = dict(self.written.report)
        for name, value in part.items():
            # A later version of the service may count more.
            if isinstance(value, int) and not isinstance(value, bool):
                report[name] = report.get(name, 0) + value
        for name in ("errors", "warnings"):
            moved = [{**error, "line": error["line"] + self.written.records} for error in part.get(name, [])]
            report[name] = [*report[name], *moved][:MAX_ERRORS]
        report["aborted"] = report["aborted"] or part.get("aborted", False)
        self.written = ImportProgress(self.written.records + len(self._lines), cast(ImportReport, report))
        self._lines = []
        self._bytes = 0
        return self.written
