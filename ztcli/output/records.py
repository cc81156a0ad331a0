"""JSON for machines: objects carry a version and a type, streams of events a time."""

from __future__ import annotations

import json
import time

from ztcli.environment import Environment

VERSION = 1


def record(kind: str, values: dict[str, object]) -> str:
    """Return one object as a line."""
    return json.dumps({"v": VERSION, "type": kind, **values}, default=str)


def event(kind: str, values: dict[str, object]) -> str:
    """Return one event of a stream as a line."""
    return json.dumps(
        {"v": VERSION, "type": "event", "ts": round(time.time(), 6), "event": kind, **values},
        default=str,
    )


def print_record(env: Environment, kind: str, values: dict[str, object]) -> None:
    env.print(record(kind, values))


def print_event(env: Environment, kind: str, values: dict[str, object]) -> None:
    env.print(event(kind, values))
