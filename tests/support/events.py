"""Takes what the parts of an IP host have told."""

from __future__ import annotations

from ztstack.ip.events import Event


def taken(events: list[Event]) -> list[Event]:
    """Empty a list that its writers keep; return what was in it."""
    found = events[:]
    events.clear()
    return found
