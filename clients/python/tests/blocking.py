"""An asynchronous client with the methods of a blocking one, so that each test is written once."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, cast

import callhistory
from callhistory import Client

Make = Callable[..., Client]


@contextmanager
def make_client(kind: str) -> Iterator[Make]:
    loop = asyncio.new_event_loop()
    made: List[Any] = []
    # Each test has a workspace of its own.
    workspace = uuid.uuid4().hex

    def make(base: str, **options: Any) -> Client:
        options.setdefault("workspace", workspace)
        client = getattr(callhistory, kind)(base, **options)
        made.append(client)
        return client if kind == "Client" else cast(Client, Driven(client, loop))

    try:
        yield make
    finally:
        for client in made:
            if kind == "Client":
                client.close()
            else:
                loop.run_until_complete(client.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Driven:
    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **{name: self._converted(value) for name, value in options.items()})
            if inspect.isasyncgen(result):
                return self._items(result)
            if inspect.isawaitable(result):
                return self._loop.run_until_complete(result)
            return Driven(result, self._loop)

        return call

    def _converted(self, value: Any) -> Any:
        """The event of a test, as one of this loop."""
        if not isinstance(value, threading.Event):
            return value

        async def watch() -> asyncio.Event:
            event = asyncio.Event()

            async def forward() -> None:
                while not value.is_set():
                    await asyncio.sleep(0.02)
                event.set()

            self._watcher = asyncio.ensure_future(forward())
            return event

        return self._loop.run_until_complete(watch())

    def _items(self, result: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self._loop.run_until_complete(result.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._loop.run_until_complete(result.aclose())
