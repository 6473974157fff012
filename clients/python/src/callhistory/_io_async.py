"""Waiting and iterating, asynchronously. `_io_blocking.py` has the same functions."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterable, AsyncIterator, Coroutine, Iterable, Optional, TypeVar, Union

T = TypeVar("T")
Records = Union[Iterable[T], AsyncIterable[T]]


async def sleep(seconds: float, stop: Optional[asyncio.Event] = None) -> None:
    """Waits, at most until the event is set."""
    if stop is None:
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        pass


async def iterate(records: Records[T]) -> AsyncIterator[T]:
    """The items of any iterable."""
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record


async def until(stop: Optional[asyncio.Event], result: Coroutine[Any, Any, T]) -> Optional[T]:
    """The result, or ``None`` if the event is set before."""
    if stop is None:
        return await result
    task, stopped = asyncio.ensure_future(result), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for other in (task, stopped):
            other.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
