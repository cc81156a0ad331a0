"""Chooses the engine of a command; only then is it imported."""

from __future__ import annotations

from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.options import Settings


def make_engine(env: Environment, settings: Settings) -> Engine:
    """Return the engine that the settings ask for."""
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
