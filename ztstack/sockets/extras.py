"""Loads what needs a library that is not always installed, or is slow to load."""

from __future__ import annotations

import importlib
from types import ModuleType

from ztstack.base.errors import LocalError


class MissingExtra(LocalError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


def load(name: str, extra: str | None = None) -> ModuleType:
    """Import a module of `ztstack.integrations`, which stand above the sockets.

    MissingExtra if the library that it needs is not there; without `extra` that is one which the
    package itself depends on.
    """
    try:
        return importlib.import_module(f"ztstack.integrations.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "ztstack":
            raise
        package = f"'ztstack[{extra}]'" if extra is not None else "ztstack"
        raise MissingExtra(f"{error.name} is not installed (run: pip install {package})") from error
