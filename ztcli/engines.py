"""Chooses the engine of a command; only then is it imported."""

from __future__ import annotations

from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.options import Settings


def make_engine(env: Environment, settings: Settings) -> Engine:
    """Return the engine that the settings ask for."""
    if settings.is_overlay:
        from ztcli.engine_overlay import OverlayEngine

        env.warn(settings, "warning: overlay stack is neither encrypted nor authenticated")
        return OverlayEngine(env, settings)
    from ztcli.engine_stack import StackEngine

    return StackEngine(env, settings)
