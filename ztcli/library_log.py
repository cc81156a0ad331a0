"""Passes on what the library logs while a command runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LIBRARY: Final = "ztstack"


def set_level(level: str) -> None:
    """Tell more or less of the library from now on."""
    logging.getLogger(_LIBRARY).setLevel(level.upper())


class _Teller(logging.Handler):
    """Tells what the library of this thread says: each command has one of its own."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__()
        self._say = say
        self._own = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._own:
            self._say(record.getMessage(), record.levelname.lower())


@contextmanager
def told_library(say: Callable[[str, str], None], level: str) -> Iterator[None]:
    """Pass on what the library logs, as long as a command runs."""
    logger = logging.getLogger(_LIBRARY)
    before, teller = logger.level, _Teller(say)
    logger.addHandler(teller)
    set_level(level)
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.setLevel(before)
