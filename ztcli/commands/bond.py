"""zt bond: the paths to each peer, what is known of them, and why they are used or not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.endpoints import colon_form
from ztcli.output.messages import plural
from ztcli.output.records import print_event, print_record
from ztcli.output.tables import print_table

WATCH_S: Final = 1.0
PATHS_S: Final = 3.0
"""How long a peer gets to show its paths to a node that has just started."""
_ASK_S: Final = 0.25
_CLEAR: Final = b"\x1b[H\x1b[2J"
_BONDS: Final = ("PEER", "POLICY", "PATHS", "TX", "RX", "USED")
_PATHS: Final = (
    "PATH",
    "LINK",
    "STATE",
    "RTT",
    "VAR",
    "LOSS",
    "SHARE",
    "RATE",
    "TX",
    "RX",
    "FLOWS",
    "WHY",
)

Bond = dict[str, Any]
Ask = Callable[[], Awaitable[list[Bond]]]


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Options of zt bond list."""

    watch: Annotated[bool, typer.Option("--watch", help="Again and again.")] = False


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Options of zt bond show."""

    peer: Annotated[str, typer.Argument(metavar="PEER", help="A node id.")]
    watch: Annotated[bool, typer.Option("--watch", help="Again and again.")] = False


def list_bonds(env: Environment, settings: Settings, options: ListOptions) -> ExitCode:
    view = _View(env, settings, "")
    return _run(env, settings, view, watch=options.watch)


def show(env: Environment, settings: Settings, options: ShowOptions) -> ExitCode:
    peer = f"{parsing.node_id(options.peer):010x}"
    return _run(env, settings, _View(env, settings, peer), watch=options.watch)


def _run(env: Environment, settings: Settings, view: _View, *, watch: bool) -> ExitCode:
    if settings.is_overlay:
        raise UsageProblem("bonds belong to the managed stack, not to the overlay")

    async def main() -> ExitCode:
        import ztstack

        state = settings.state
        if state is not None and await ztstack.running_bonds(state) is not None:

            async def ask() -> list[Bond]:
                found = await ztstack.running_bonds(state)
                if found is None:
                    raise CommandError(f"{state}: the node has ended", ExitCode.CONNECTION_LOST)
                return found

            return await view.run(ask, watch=watch)
        async with env.engine(settings) as engine:
            await _meet(engine, view.peer)

            async def ask_own() -> list[Bond]:
                return await _bonds(engine)

            return await view.run(ask_own, watch=watch)

    return runner.run(env, main, settings.total_timeout())


async def _bonds(engine: Engine) -> list[Bond]:
    found: list[Bond] = (await engine.status())["bonds"]  # type: ignore[assignment] # by contract
    return found


async def _meet(engine: Engine, peer: str) -> None:
    """Ask a peer for a sign of life and give it time to show its paths."""
    await engine.wait_online()
    if not peer:
        return
    await engine.ping(peer, PATHS_S, icmp=False, size=32)
    deadline = time.monotonic() + PATHS_S
    while time.monotonic() < deadline:
        if any(bond["peer"] == peer and bond["links"] for bond in await _bonds(engine)):
            return
        await asyncio.sleep(_ASK_S)


class _View:
    """Prints the bond of one peer, or of all if it has none; and what changes."""

    def __init__(self, env: Environment, settings: Settings, peer: str) -> None:
        self._env = env
        self._settings = settings
        self.peer = peer
        self._told: dict[tuple[str, int, str], tuple[str, str]] = {}

    async def run(self, ask: Ask, *, watch: bool) -> ExitCode:
        live = os.isatty(self._env.stdout) and self._env.variables.get("TERM") != "dumb"
        while True:
            found = [bond for bond in await ask() if self.peer in ("", bond["peer"])]
            if self.peer and not found and not watch:
                raise CommandError(
                    f"{self.peer}: there is no bond with it",
                    ExitCode.CANNOT_CONNECT,
                    "is --multipath on, and has something been sent to it?",
                )
            if watch and self._settings.json:
                self._tell_changes(found)
            else:
                if watch and live:
                    self._env.write(_CLEAR)
                self._show(found)
            if not watch:
                return ExitCode.OK
            await asyncio.sleep(WATCH_S)

    def _tell_changes(self, found: list[Bond]) -> None:
        """Print an event for each path that came, went or changed, then all figures."""
        now = {}
        for bond in found:
            for link in bond["links"]:
                key = (bond["peer"], link["socket"], link["remote"])
                now[key] = (link["state"], link["reason"])
        for key in [*now, *(key for key in self._told if key not in now)]:
            state, reason = now.get(key, ("gone", ""))
            if self._told.get(key) != (state, reason):
                before, _ = self._told.get(key, ("", ""))
                values = dict(zip(("peer", "socket", "remote"), key, strict=True))
                values.update(state=state, before=before, reason=reason)
                print_event(self._env, "path", values)
        self._told = now
        print_event(self._env, "bonds", {"bonds": found})

    def _show(self, found: list[Bond]) -> None:
        if self._settings.json:
            if self.peer:
                print_record(self._env, "bond", found[0])
            else:
                print_record(self._env, "bonds", {"bonds": found})
            return
        if not self.peer:
            print_table(self._env, _BONDS, [_bond_row(bond) for bond in found])
            return
        for bond in found:
            self._env.print(f"peer      {bond['peer']}")
            self._env.print(f"policy    {bond['policy']}")
            self._env.print(f"by root   {plural(bond['warmups'], 'packet')} sent twice")
            self._env.print(f"dropped   {plural(bond['duplicates'], 'duplicate')}")
            print_table(self._env, _PATHS, [_path_row(link) for link in bond["links"]])


def _bond_row(bond: Bond) -> list[str]:
    links = bond["links"]
    used = [colon_form(link["remote"]) for link in links if link["share"] > 0]
    return [
        bond["peer"],
        bond["policy"],
        str(len(links)),
        str(sum(link["sent_bytes"] for link in links)),
        str(sum(link["received_bytes"] for link in links)),
        ",".join(used) or "-",
    ]


def _path_row(link: Bond) -> list[str]:
    return [
        colon_form(link["remote"]),
        link["interface"] or f"#{link['socket']}",
        link["state"],
        _figure(link["rtt_ms"], "{:.1f}"),
        _figure(link["variance_ms"], "{:.1f}"),
        _figure(link["loss"], "{:.1%}"),
        f"{link['share']:.0%}",
        _figure(link["rate_bytes"], "{:.0f}"),
        str(link["sent_bytes"]),
        str(link["received_bytes"]),
        str(link["flows"]),
        link["reason"] or "-",
    ]


def _figure(value: float, form: str) -> str:
    return form.format(value) if value >= 0 else "-"


def _make_app() -> typer.Typer:
    app = new_app("Show the bonds: several paths to one peer used as one.")
    app.command("list", context_settings=CONTEXT)(
        bind("bond list", list_bonds, ListOptions, "Print the peers with several paths.")
    )
    app.command("show", context_settings=CONTEXT)(
        bind("bond show", show, ShowOptions, "Print the paths to a peer, and why they are used.")
    )
    return app


bond_app = _make_app()
