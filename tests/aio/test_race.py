"""Several ways tried at once: who wins, who begins when, and what is told if all fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ztstack.base.errors import ConnectRefused, NameNotResolved
from ztstack.sockets.race import first_of

Attempt = Callable[[], Coroutine[Any, Any, str]]


def failing(error: Exception) -> Attempt:
    async def attempt() -> str:
        raise error

    return attempt


def race(*attempts: Attempt) -> tuple[str, list[str]]:
    """Return who won, and what was thrown away."""
    disposed: list[str] = []

    async def main() -> str:
        return await first_of(attempts, disposed.append)

    return asyncio.run(main()), disposed


async def quick() -> str:
    return "quick"


def test_the_second_does_not_begin_if_the_first_is_there() -> None:
    begun = []

    async def second() -> str:
        begun.append("second")
        return "second"

    assert race(quick, second) == ("quick", [])
    assert begun == []


def test_the_second_overtakes_a_silent_first() -> None:
    ended = []

    async def silent() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("silent")
        return "silent"

    assert race(silent, quick) == ("quick", [])
    assert ended == ["silent"]


def test_what_comes_too_late_is_disposed_of() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "stubborn"
        return "never"

    assert race(stubborn, quick) == ("quick", ["stubborn"])


def test_a_failure_makes_way_for_the_next() -> None:
    assert race(failing(ConnectRefused("no")), quick) == ("quick", [])


@pytest.mark.parametrize("turn", [1, -1])
def test_the_failure_that_says_more_is_told(turn: int) -> None:
    attempts = [failing(NameNotResolved("no name")), failing(ConnectRefused("refused"))][::turn]
    with pytest.raises(ConnectRefused):
        race(*attempts)


def test_without_any_address_the_name_is_told() -> None:
    with pytest.raises(NameNotResolved, match="first"):
        race(failing(NameNotResolved("first")), failing(NameNotResolved("second")))
