"""Which clock a loop goes by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the seconds of a loop, exact to the microsecond.

    uvloop's clock counts whole milliseconds and stands still during a turn; what it counts is the
    system's monotonic clock. The clock of any other loop is taken as it is: it may be virtual.
    """
    return time.monotonic if type(loop).__module__.startswith("uvloop") else loop.time
