"""zt selftest: checks that all of it works on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ztcli.binding import single
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztcli.output.records import print_event


@dataclass(frozen=True, slots=True)
class SelftestOptions:
    """Options of zt selftest."""

    deep: Annotated[
        bool, typer.Option("--deep", help="More bytes, more nodes, and a fresh identity.")
    ] = False


def selftest(env: Environment, settings: Settings, options: SelftestOptions) -> ExitCode:
    from ztstack.testing.selftest import run_checks

    failed = 0
    for outcome in run_checks(deep=options.deep):
        failed += not outcome.ok
        if settings.json:
            values: dict[str, object] = {
                "check": outcome.name,
                "ok": outcome.ok,
                "detail": outcome.detail,
                "seconds": round(outcome.seconds, 3),
            }
            print_event(env, "check", values)
        else:
            mark = "ok" if outcome.ok else "FAILED"
            env.print(f"{mark:<7} {outcome.name:<22} {outcome.detail} ({outcome.seconds:.1f} s)")
    return ExitCode.INTERNAL if failed else ExitCode.OK


selftest_app = single(
    "selftest",
    selftest,
    SelftestOptions,
    "Check in a few seconds, without a network, that everything works here.",
)
