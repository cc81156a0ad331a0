"""zt bench local: how fast the parts are on this machine, without a network."""

from __future__ import annotations

from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztcli.output.records import print_record


def measure_here(env: Environment, settings: Settings) -> ExitCode:
    from ztstack.testing.microbench import measures

    results: list[dict[str, object]] = []
    for one in measures():
        value = round(one.value, 3 if one.value < 100 else 0)
        if settings.json:
            results.append({"name": one.name, "value": value, "unit": one.unit})
        else:
            env.print(f"{one.name:<26} {value:>12,.10g} {one.unit}")
    if settings.json:
        print_record(env, "bench-local", {"results": results})
    return ExitCode.OK
