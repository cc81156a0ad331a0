"""zt bench: how fast the network is between two nodes, and the node that answers."""

from __future__ import annotations

from typing import Final

from ztcli import parsing
from ztcli.binding import single
from ztcli.commands.bench_options import MAX_TIME_S, BenchOptions
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings

DEFAULT_PORT: Final = 5201
TIME_S: Final = 10.0
_SERVE: Final = "serve"


def bench(env: Environment, settings: Settings, options: BenchOptions) -> ExitCode:
    serves = options.target == _SERVE
    port = DEFAULT_PORT
    if options.port is not None:
        port = parsing.port(options.port, zero=serves)
    if serves:
        if options.reverse or options.via_relay or options.time or options.bytes:
            raise UsageProblem("--reverse, --time, --bytes and --via-relay are for the other end")
        from ztcli.commands.bench_run import serve

        return serve(env, settings, options, port)
    if options.ready_file is not None or options.ready_fd is not None:
        raise UsageProblem("--ready-file and --ready-fd belong to zt bench serve")
    if options.allow or options.deny:
        raise UsageProblem("--allow and --deny belong to zt bench serve")
    if options.time is not None and options.bytes is not None:
        raise UsageProblem("--time and --bytes exclude each other")
    if options.via_relay and settings.planet is None and not settings.is_overlay:
        raise UsageProblem("--via-relay would load public roots: it needs a --planet of yours")
    seconds = parsing.duration(options.time) if options.time is not None else TIME_S
    if seconds is None or seconds > MAX_TIME_S:
        raise UsageProblem("--time is at most 1h")
    amount = parsing.size(options.bytes) if options.bytes is not None else None
    if amount == 0:
        raise UsageProblem("--bytes is at least 1")
    from ztcli.commands.bench_run import measure

    return measure(env, settings, options, port, None if amount else seconds, amount)


bench_app = single("bench", bench, BenchOptions, "Measure latency and throughput.")
