"""Runs what serves until a signal comes: forwards, exposed ports, a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from ztcli import parsing, ready, runner
from ztcli.boundary import code_of
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record
from ztcli.specs import LOOPBACK

Values = dict[str, object]
HEALTH_HELP: Final = "Serve /livez, /readyz and /metrics there; on loopback if no host is named."


class Service(Protocol):
    """Something that serves while a node runs."""

    @property
    def command(self) -> str: ...

    async def check(self) -> None:
        """Refuse to start, before there is a node."""

    async def open(self, engine: Engine) -> None:
        """Take the ports."""

    def announce(self, engine: Engine) -> Values:
        """Print the ready line or record, and return what it says."""
        ...

    async def run(self, engine: Engine) -> None:
        """Serve until cancelled, or until a port cannot be served any more."""

    def close(self) -> None:
        """Give the ports back."""


class HasReady(Protocol):
    """Options that say to whom it is told that a command is ready."""

    @property
    def ready_file(self) -> str | None: ...
    @property
    def ready_fd(self) -> int | None: ...
    @property
    def health(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A service and what it is called where there are several."""

    name: str
    service: Service


def serve(env: Environment, settings: Settings, service: Service, options: HasReady) -> ExitCode:
    """Run one service."""
    return _run(env, settings, service.command, [Named("", service)], options)


class Rehearsed(Protocol):
    """Something that can tell what it would serve."""

    @property
    def command(self) -> str: ...

    def rehearse(self) -> Values:
        """Refuse what cannot be, and print what would be served, as lines or not at all."""
        ...


def rehearse(
    env: Environment, settings: Settings, service: Rehearsed, options: HasReady
) -> ExitCode:
    """Check all that can be checked without a network, and say what would be done."""
    with_health(settings, options.health)
    ready.check(options.ready_fd)
    if options.ready_file is not None and not Path(options.ready_file).parent.is_dir():
        raise CommandError(
            f"--ready-file {options.ready_file}: there is no such folder", ExitCode.CANNOT_WRITE
        )
    state = settings.state
    remembered = state is not None and any((state / "networks.d").glob("*.conf"))
    if not settings.networks and not remembered and not settings.is_overlay:
        raise UsageProblem(
            "no network is named", "name one with -n NWID, or export ZT_NETWORK=NWID"
        )
    values = service.rehearse()
    if settings.json:
        told = {"command": service.command, "networks": list(settings.networks), **values}
        print_record(env, "dry-run", told)
    env.warn(settings, "dry run: nothing was started")
    return ExitCode.OK


def serve_all(
    env: Environment, settings: Settings, services: Sequence[Named], options: HasReady
) -> ExitCode:
    """Run several with one node; if one cannot start, none does."""
    return _run(env, settings, "up", services, options)


def with_health(settings: Settings, text: str | None) -> Settings:
    """Return the settings with the address of `--health`: loopback, unless a host is named."""
    if text is None:
        return settings
    if settings.is_overlay:
        raise UsageProblem("--health belongs to the managed stack, not to the overlay")
    if text.isdigit():
        return replace(settings, health=(LOOPBACK, parsing.port(text, zero=True)))
    return replace(settings, health=parsing.host_port(text, zero=True))


def _run(
    env: Environment,
    settings: Settings,
    command: str,
    services: Sequence[Named],
    options: HasReady,
) -> ExitCode:
    settings = with_health(replace(settings, serves=f"zt {command}"), options.health)
    ready.check(options.ready_fd)

    async def main() -> ExitCode:
        for one in services:
            with _Naming(one.name):
                await one.service.check()
        async with env.engine(settings) as engine:
            await engine.join()
            try:
                for one in services:
                    with _Naming(one.name):
                        await one.service.open(engine)
                values = [one.service.announce(engine) for one in services]
                told = values[0] if not services[0].name else _together(services, values, engine)
                ready.announce(env, told, options.ready_file, options.ready_fd)
                async with asyncio.TaskGroup() as group:
                    for one in services:
                        group.create_task(one.service.run(engine))
            finally:
                for one in services:
                    one.service.close()
                ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _together(services: Sequence[Named], values: Sequence[Values], engine: Engine) -> Values:
    entries = [{"name": one.name, **found} for one, found in zip(services, values, strict=True)]
    return {
        "mode": "up",
        "entries": entries,
        "node": engine.node_id,
        "networks": engine.networks,
    }


class _Naming:
    """Says in a failure which of several services it is about."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._name or not isinstance(error, Exception):
            return
        code = code_of(error)
        if code is not ExitCode.INTERNAL:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandError(f"{self._name}: {words}", code) from error
