"""zt netcheck: how this machine reaches the roots, and what its router makes of that."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import single
from ztcli.engine import Engine, NetCheck
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.endpoints import colon_form
from ztcli.output.records import print_record

PATIENCE_S: Final = 3.0
"""So long the slower roots have after the first one answered."""
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class NetcheckOptions:
    """Options of zt netcheck."""

    every: Annotated[
        str | None, typer.Option("--every", metavar="DUR", help="Again and again.")
    ] = None


def netcheck(env: Environment, settings: Settings, options: NetcheckOptions) -> ExitCode:
    every = parsing.duration(options.every) if options.every is not None else None
    if options.every is not None and every is None:
        raise UsageProblem("--every is how long to wait from one report to the next")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            failure = await _settle(engine)
            while True:
                _show(env, settings, await engine.netcheck())
                if every is None:
                    break
                await asyncio.sleep(every)
        if failure is not None:
            raise failure
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


async def _settle(engine: Engine) -> Exception | None:
    """Wait for the roots; a failure is shown after the answer."""
    try:
        await engine.wait_online()
    except CommandError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if all(root.path for root in (await engine.netcheck()).roots):
            break
        await asyncio.sleep(POLL_S)
    return None


def _show(env: Environment, settings: Settings, found: NetCheck) -> None:
    if settings.json:
        print_record(env, "netcheck", found.values())
        return
    answered = sum(1 for root in found.roots if root.path)
    udp = "yes" if found.udp else "no"
    lines = [
        ("udp out", f"{udp} ({answered} of {len(found.roots)} roots)"),
        ("ipv4", "yes" if found.ipv4 else "no"),
        ("ipv6", "yes" if found.ipv6 else "no"),
        ("nat", found.nat),
        ("external", ", ".join(map(colon_form, found.external)) or "unknown"),
        ("port map", colon_form(found.port_mapping) if found.port_mapping else "none"),
    ]
    if found.tcp_relay:
        state = "not in use" if found.tcp_relay_state == "off" else found.tcp_relay_state
        lines.append(("tcp relay", f"{colon_form(found.tcp_relay)} {state}"))
    for root in found.roots:
        words = [root.address, root.link.upper() if root.path else "SILENT"]
        if root.path:
            words.append(colon_form(root.path))
        if root.latency_ms >= 0:
            words.append(f"{root.latency_ms} ms")
        if root.seen_as:
            words.append(f"sees {colon_form(root.seen_as[-1])}")
        lines.append(("root", " ".join(words)))
    skews = [root.clock_skew_ms for root in found.roots if root.clock_skew_ms is not None]
    if skews:
        # The middle one: a root may be wrong itself.
        lines.append(("clock skew", f"{sorted(skews)[len(skews) // 2] / 1000:.1f} s"))
    for key, value in lines:
        env.print(f"{key:10} {value}")


netcheck_app = single(
    "netcheck", netcheck, NetcheckOptions, "Print how the roots are reached from here."
)
