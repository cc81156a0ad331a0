"""zt trace: the way to a node or an address, hop by hop with times."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import single
from ztcli.engine import Engine, Pong, RootCheck
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings
from ztcli.output.endpoints import colon_form
from ztcli.output.records import print_record

WAIT_S: Final = 5.0
_SIZE: Final = 32
_NODE: Final = re.compile(r"[0-9a-fA-F]{10}(\.zt)?")


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Options of zt trace."""

    target: Annotated[str, typer.Argument(metavar="TARGET", help="Node id, address or name.")]


@dataclass(frozen=True, slots=True)
class Hop:
    """One stage of the way; an `rtt_ms` of -1 was not measured."""

    stage: str
    who: str
    link: str
    path: str
    rtt_ms: float


def trace(env: Environment, settings: Settings, options: TraceOptions) -> ExitCode:
    target = settings.names.host(options.target)
    is_node = _NODE.fullmatch(target) is not None
    if not is_node:
        # What is neither is refused before anything is sent.
        parsing.target(target, "1")
    wait = settings.timeout if settings.has_timeout else WAIT_S

    async def main() -> ExitCode:
        hops: list[Hop] = []
        async with env.engine(settings) as engine:
            try:
                await _follow(engine, target, hops, wait, is_node=is_node)
            except Exception:
                # How far it went is worth as much as why it ended.
                _show(env, settings, target, hops)
                raise
        _show(env, settings, target, hops)
        return ExitCode.OK

    return runner.run(env, main)


async def _follow(
    engine: Engine, target: str, hops: list[Hop], wait: float | None, *, is_node: bool
) -> None:
    hops.append(Hop("me", engine.node_id, "", "", 0.0))
    await engine.wait_online()
    root = _nearest((await engine.netcheck()).roots)
    if root is not None:
        hops.append(Hop("root", root.address, root.link, colon_form(root.path), root.latency_ms))
    if is_node:
        hops.append(_hop("peer", await _ask(engine, _node(target), wait, icmp=False)))
        return
    await engine.join()
    inside = await _ask(engine, target, wait, icmp=True)
    if inside.node:
        hops.append(_hop("peer", await _ask(engine, inside.node, wait, icmp=False)))
    hops.append(_hop("address", inside))


def _node(target: str) -> str:
    return target.lower().removesuffix(".zt")


def _hop(stage: str, pong: Pong) -> Hop:
    who = pong.ip if stage == "address" else pong.node
    path = colon_form(pong.path) if pong.path else pong.relay
    return Hop(stage, who, pong.link, path, round(pong.rtt_ms, 3))


async def _ask(engine: Engine, target: str, wait: float | None, *, icmp: bool) -> Pong:
    """Ask twice: the first time pays for looking up and meeting the node."""
    try:
        await engine.ping(target, wait, icmp=icmp, size=_SIZE)
        return await engine.ping(target, wait, icmp=icmp, size=_SIZE)
    except TimeoutError as error:
        words = str(error) or f"{target}: no answer"
        raise CommandError(words, ExitCode.TIMED_OUT) from error


def _nearest(roots: tuple[RootCheck, ...]) -> RootCheck | None:
    reached = [root for root in roots if root.path]
    return min(reached, key=lambda root: root.latency_ms, default=None)


def _show(env: Environment, settings: Settings, target: str, hops: list[Hop]) -> None:
    if settings.json:
        print_record(env, "trace", {"target": target, "hops": [asdict(hop) for hop in hops]})
        return
    for number, hop in enumerate(hops, 1):
        words = [f"{number}  {hop.stage:<8} {hop.who}"]
        if hop.link:
            words.append(hop.link.upper())
        if hop.path:
            words.append(hop.path)
        if hop.link and hop.rtt_ms >= 0:
            words.append(f"{hop.rtt_ms:.1f} ms")
        env.print("  ".join(words))


trace_app = single("trace", trace, TraceOptions, "Print the way to a node, stage by stage.")
