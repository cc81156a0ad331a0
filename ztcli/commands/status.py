"""zt status and zt peers: what this node knows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ztcli import runner
from ztcli.binding import single
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings
from ztcli.output.meter import amount
from ztcli.output.records import record
from ztcli.output.tables import print_table

WATCH_S = 2.0
_PEERS = (*("NODE", "ROLE", "VER", "LINK", "RTT", "LOSS", "TX", "RX", "SEEN", "BOND", "PATH"),)
_CLEAR = b"\x1b[H\x1b[2J"

Snapshot = dict[str, Any]
Show = Callable[[Environment, Settings, Snapshot], None]


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """Options of zt status."""

    watch: Annotated[bool, typer.Option("--watch", help="Again and again.")] = False


@dataclass(frozen=True, slots=True)
class PeersOptions:
    """Options of zt peers."""

    active: Annotated[bool, typer.Option("--active", help="Only those with a path.")] = False
    watch: Annotated[bool, typer.Option("--watch", help="Again and again.")] = False


def status(env: Environment, settings: Settings, options: StatusOptions) -> ExitCode:
    def show(env: Environment, settings: Settings, snapshot: Snapshot) -> None:
        _show_status(env, settings, snapshot, watch=options.watch)

    return _run(env, settings, options.watch, show)


def peers(env: Environment, settings: Settings, options: PeersOptions) -> ExitCode:
    def show(env: Environment, settings: Settings, snapshot: Snapshot) -> None:
        if options.active:
            found = [peer for peer in snapshot["peers"] if peer["paths"]]
            snapshot = {**snapshot, "peers": found}
        if settings.json:
            env.print(record("peers", {"peers": snapshot["peers"]}))
        else:
            _print_peers(env, snapshot)

    return _run(env, settings, options.watch, show)


def _run(env: Environment, settings: Settings, watch: bool, show: Show) -> ExitCode:  # noqa: FBT001
    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            failure = await _settle(engine)
            while True:
                if watch and _is_live(env, settings):
                    env.write(_CLEAR)
                show(env, settings, await engine.status())
                if not watch:
                    break
                await asyncio.sleep(WATCH_S)
        if failure is not None:
            raise failure
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _is_live(env: Environment, settings: Settings) -> bool:
    """Tell whether stdout is a terminal on which one answer may replace the last."""
    is_terminal = os.isatty(env.stdout) and env.variables.get("TERM") != "dumb"
    return is_terminal and not settings.json


async def _settle(engine: Engine) -> Exception | None:
    """Join what is named and wait for a root; a failure is shown after the answer.

    A membership that was kept is usable before any root has answered, hence both.
    """
    try:
        if engine.networks:
            await engine.join()
        await engine.wait_online()
    except CommandError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error
    return None


def _show_network(env: Environment, network: Snapshot) -> None:
    ordered = sorted(network["addresses"], key=lambda address: ":" in address)
    addresses = ", ".join(ordered) or "no address"
    words = [network["network"], network["name"], network["status"], addresses]
    env.print("network  " + " ".join(word for word in words if word))
    if network["detail"]:
        env.print(f"         {network['detail']}")
    for route in network["routes"]:
        env.print(f"route    {route}")
    if network.get("dns_servers"):
        domain = network["dns_domain"] or "any name"
        env.print(f"dns      {domain} {', '.join(network['dns_servers'])}")


def _show_status(env: Environment, settings: Settings, snapshot: Snapshot, *, watch: bool) -> None:
    if settings.json:
        env.print(record("status", snapshot))
        return
    env.print(f"node     {snapshot['node']}")
    env.print(f"online   {'yes' if snapshot['online'] else 'no'}")
    env.print(f"version  {snapshot['version']}")
    for key in ("planet", "transport"):
        if snapshot.get(key):
            env.print(f"{key:8} {snapshot[key]}")
    for local in snapshot["local"]:
        env.print(f"local    {local}")
    for network in snapshot["networks"]:
        _show_network(env, network)
    if watch and _is_live(env, settings):
        env.print("")
        _print_peers(env, snapshot)
    else:
        _list_peers(env, snapshot)
    if settings.verbose:
        for reason, count in snapshot["drops"].items():
            env.print(f"dropped  {count} {reason}")


def _list_peers(env: Environment, snapshot: Snapshot) -> None:
    for peer in snapshot["peers"]:
        words = [peer["address"], peer["role"], peer["link"], *peer["paths"][:1]]
        if peer["latency_ms"] >= 0:
            words.append(f"{peer['latency_ms']} ms")
        env.print("peer     " + " ".join(words))


def _print_peers(env: Environment, snapshot: Snapshot) -> None:
    """Print a table; what is of several paths is known of peers with a bond alone."""
    bonds = {bond["peer"]: bond for bond in snapshot.get("bonds", ())}
    rows = []
    for peer in snapshot["peers"]:
        bond = bonds.get(peer["address"], {})
        losses = [link["loss"] for link in bond.get("links", ()) if link["loss"] >= 0]
        rows.append(
            [
                peer["address"],
                peer["role"],
                peer["version"] or "-",
                peer["link"].upper(),
                str(peer["latency_ms"]) if peer["latency_ms"] >= 0 else "-",
                f"{100 * sum(losses) / len(losses):.1f}%" if losses else "-",
                amount(peer.get("sent_bytes", 0)),
                amount(peer.get("received_bytes", 0)),
                f"{peer['last_seen_ms'] / 1000:.1f}" if peer["last_seen_ms"] >= 0 else "-",
                bond.get("policy", "-"),
                peer["paths"][0] if peer["paths"] else "-",
            ]
        )
    print_table(env, _PEERS, rows)


status_app = single("status", status, StatusOptions, "Print what this node knows.")
peers_app = single("peers", peers, PeersOptions, "Print the peers and the paths to them.")
