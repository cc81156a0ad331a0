"""Passes on what the library logs while a command runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LIBRARY: Final = "ztstack"


class _Teller(logging.Handler):
    """Tells what the library of this thread says: each command has one of its own."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__()
        self._say = say
        self._own = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._own:
            self._say(record.getMessage(), record.levelname.lower())


def _tellers() -> list[_Teller]:
    return [one for one in logging.getLogger(_LIBRARY).handlers if isinstance(one, _Teller)]


def _adjust() -> None:
    """Let the library say what the most curious of those who listen wants to know."""
    levels = [one.level for one in _tellers()]
    logging.getLogger(_LIBRARY).setLevel(min(levels, default=logging.NOTSET))


def set_level(level: str) -> None:
    """Tell more or less of the library from now on."""
    for teller in _tellers():
        teller.setLevel(level.upper())
    _adjust()


@contextmanager
def told_library(say: Callable[[str, str], None], level: str) -> Iterator[None]:
    """Pass on what the library logs, as long as a command runs."""
    teller = _Teller(say)
    teller.setLevel(level.upper())
    logging.getLogger(_LIBRARY).addHandler(teller)
    _adjust()
    try:
        yield
    finally:
        logging.getLogger(_LIBRARY).removeHandler(teller)
        _adjust()
