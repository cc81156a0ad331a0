"""Chooses the engine of a command; only then is it imported."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.options import Settings

LET_IN_S: Final = 10.0
"""How long a node that this command itself authorises waits for its controller to agree."""


def make_engine(env: Environment, settings: Settings) -> Engine:
    """Return the engine that the settings ask for."""
    if settings.authorize:
        # Who was let in just now may still hear the refusal of what was asked before.
        settings = replace(settings, wait_auth=max(settings.wait_auth, LET_IN_S))
    return around(env, settings, _bare(env, settings))


def around(env: Environment, settings: Settings, engine: Engine) -> Engine:
    """Return an engine with what the settings ask for beside a network."""
    if settings.health is not None:
        from ztcli.health import HealthEngine

        engine = HealthEngine(engine, env, settings, settings.health)
    if settings.authorize:
        from ztcli.engine_member import MemberEngine

        engine = MemberEngine(engine, env, settings)
    if settings.names.hosts:
        from ztcli.engine_around import NamedEngine

        engine = NamedEngine(engine, settings.names)
    return engine


def _bare(env: Environment, settings: Settings) -> Engine:
    if settings.is_overlay:
        from ztcli.engine_overlay import OverlayEngine

        env.warn(settings, "warning: overlay stack is neither encrypted nor authenticated")
        return OverlayEngine(env, settings)
    from ztcli.engine_choice import ChoosingEngine

    return ChoosingEngine(env, settings)
