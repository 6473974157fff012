"""Waiting and iterating in blocking code. Written by hand, unlike the other modules of this name."""

from __future__ import annotations

import threading
import time
from typing import Iterable, Iterator, Optional, TypeVar

T = TypeVar("T")
Records = Iterable[T]


def sleep(seconds: float, stop: Optional[threading.Event] = None) -> None:
    """Waits, at most until the event is set."""
    if stop is None:
        time.sleep(seconds)
    else:
        stop.wait(seconds)


def iterate(records: Records[T]) -> Iterator[T]:
    """The items of any iterable."""
    return iter(records)


def until(stop: Optional[threading.Event], result: T) -> Optional[T]:
    """The result: a request that blocks cannot be interrupted."""
    del stop
    return result
