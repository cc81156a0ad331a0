"""An event loop in a thread of its own, for programs that are not asynchronous."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import TypeVar

from ztstack.base.errors import Closed

T = TypeVar("T")


class Background:
    """Runs coroutines of other threads; `stop` ends the thread."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="ztstack", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._stay())

    async def _stay(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._ready.set()
        await self._end.wait()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Wait for `work`, from any thread but the loop's own."""
        loop = self._loop
        if loop is None or threading.current_thread() is self._thread:
            work.close()
            if loop is None:
                raise Closed("the background loop was stopped")
            raise RuntimeError("a blocking call in the thread of the event loop")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Closed("the background loop was stopped") from None
        except BaseException:
            # If the caller was interrupted, nobody waits for it any more.
            future.cancel()
            raise

    def stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._end is not None:
            loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
