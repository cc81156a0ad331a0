"""zt agent: a node that runs by itself, for other commands to ride on."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli import parsing, ready, runner
from ztcli.agent_wire import (
    AGENT,
    Values,
    ask,
    bound_path,
    is_supported,
    node_settings,
)
from ztcli.binding import CONTEXT, Invocation, NoOptions, bind, bind_invocation, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.log import LEVELS
from ztcli.options import Common, Settings
from ztcli.output.records import print_event, print_record
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.services import HEALTH_HELP, with_health

START_S: Final = 90.0
STOP_S: Final = 15.0
_LOG: Final = "agent.log"
_LOG_BYTES: Final = 1 << 20

Text = str | None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of zt agent run."""

    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End when unused for so long.")
    ] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


@dataclass(frozen=True, slots=True)
class StartOptions:
    """Options of zt agent start."""

    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End when unused for so long.")
    ] = None


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options of zt agent log."""

    level: Annotated[
        Text, typer.Option("--level", metavar="LEVEL", help="From now on: error to debug.")
    ] = None


def state_of(settings: Settings) -> Path:
    if settings.is_overlay:
        raise UsageProblem("an agent runs the managed stack, not the overlay")
    if settings.state is None:
        raise UsageProblem("--ephemeral keeps no state, and an agent is found by its state")
    if not is_supported():
        raise UsageProblem("there are no Unix sockets on this system, so there is no agent")
    return settings.state


# Here, until a signal comes.


def run(env: Environment, settings: Settings, options: RunOptions) -> ExitCode:
    state = state_of(settings)
    idle = parsing.duration_or(options.idle_timeout, None)
    ready.check(options.ready_fd)
    settings = with_health(replace(settings, serves=AGENT), options.health)

    async def main() -> ExitCode:
        from ztcli.agent_server import ServingEngine
        from ztcli.engine_stack import StackEngine
        from ztcli.engines import around

        serving = ServingEngine(StackEngine(env, settings), env, settings)
        async with around(env, settings, serving) as engine:
            server = serving.server
            if server is None:
                raise CommandError("no control socket could be made", ExitCode.NO_AGENT)
            if engine.networks:
                await engine.join()
            values: Values = {
                "mode": "agent",
                "node": engine.node_id,
                "networks": engine.networks,
                "socket": str(server.place.bound),
                "state": str(state),
            }
            if settings.json:
                print_event(env, "ready", values)
            else:
                env.print(f"Agent: {engine.node_id} pid {os.getpid()} {server.place.bound}")
            try:
                ready.announce(env, values, options.ready_file, options.ready_fd)
                await server.unused(idle)
            finally:
                ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


# In the background.


def start(invocation: Invocation, options: StartOptions) -> ExitCode:
    env, settings = invocation.env, invocation.settings()
    state = state_of(settings)
    parsing.duration_or(options.idle_timeout, None)
    about = _about(state)
    if about is None:
        _spawn(settings, state, _variables(env, invocation.common), options)
        about = _about(state)
    if about is None:
        raise CommandError("the agent ended at once", ExitCode.NO_AGENT, "see: zt agent log")
    return _show(env, settings, about)


def _variables(env: Environment, common: Common) -> dict[str, str]:
    """Return the environment of the agent: options that were given go on as variables."""
    found = {**env.variables}
    for entry in fields(common):
        value = getattr(common, entry.name)
        if value is None or entry.name == "json":
            continue
        if isinstance(value, bool):
            text = "1" if value else "0"
        elif isinstance(value, list | tuple):
            text = ",".join(str(one) for one in value)
        else:
            text = str(value)
        if text:
            found[f"ZT_{entry.name.upper()}"] = text
    found.pop("ZT_JSON", None)
    # How long to wait for the agent is no limit of the agent's own life.
    found.pop("ZT_TIMEOUT", None)
    return found


def _spawn(
    settings: Settings,
    state: Path,
    variables: Mapping[str, str],
    options: StartOptions,
) -> None:
    """Start the agent as a process of its own, and wait until it is ready."""
    words = [sys.executable, "-m", "ztcli", "agent", "run"]
    if options.idle_timeout is not None:
        words += ["--idle-timeout", options.idle_timeout]
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(state / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - this program again
            [*words, "--ready-fd", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(variables),
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        writing = -1
        limit = settings.timeout if settings.has_timeout else START_S
        is_ready, _, _ = select.select([reading], [], [], limit)
        if is_ready and os.read(reading, 65536):
            return
        if not is_ready:
            process.terminate()
            raise CommandError(f"no agent after {limit:g} s", ExitCode.TIMED_OUT, _tail(state))
        code = process.wait()
        known = code if code in ExitCode.__members__.values() else ExitCode.INTERNAL
        raise CommandError("the agent did not start", ExitCode(known), _tail(state))
    finally:
        os.close(log)
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def _tail(state: Path) -> str:
    lines = _log(state).rstrip().splitlines()
    return lines[0] if lines else "see: zt agent log"


def stop(env: Environment, settings: Settings, options: NoOptions) -> ExitCode:
    del options
    state = state_of(settings)
    about = _needed(state)
    if about["command"] != AGENT:
        raise UsageProblem(
            f"the node belongs to {about['command']}, pid {about['pid']}, not to an agent",
            f"end that instead: kill {about['pid']}",
        )
    asyncio.run(_ask(state, "stop"))
    deadline = time.monotonic() + STOP_S
    while _is_held(state):
        if time.monotonic() > deadline:
            raise CommandError(f"pid {about['pid']} did not end", ExitCode.TIMED_OUT)
        time.sleep(0.02)
    if settings.json:
        print_record(env, "agent", {"running": False, "pid": about["pid"]})
    else:
        env.print(f"stopped: pid {about['pid']}")
    return ExitCode.OK


def status(env: Environment, settings: Settings, options: NoOptions) -> ExitCode:
    del options
    return _show(env, settings, _needed(state_of(settings)))


def reload(env: Environment, settings: Settings, options: NoOptions) -> ExitCode:
    """Have a running node join what is named now; the rest of it is fixed as long as it runs."""
    del options
    state = state_of(settings)
    about = _needed(state)
    for name, value in node_settings(settings).items():
        if json.loads(json.dumps(value)) != about["settings"].get(name):
            env.warn(settings, f"warning: {name} is not what the node runs with: start it anew")
    fresh = [network for network in settings.networks if network not in about["networks"]]
    if fresh:
        more = {"timeout": settings.join_timeout, "wait_auth": settings.wait_auth}
        asyncio.run(_ask(state, "join", {"networks": fresh, **more}))
        about = _needed(state)
    return _show(env, settings, about)


def log(env: Environment, settings: Settings, options: LogOptions) -> ExitCode:
    state = state_of(settings)
    if options.level is not None:
        if options.level not in LEVELS:
            raise UsageProblem(f"--level is {', '.join(LEVELS)}, not {options.level!r}")
        about = _needed(state)
        asyncio.run(_ask(state, "level", {"level": options.level}))
        env.warn(settings, f"{about['command']} pid {about['pid']} says: {options.level}")
        return ExitCode.OK
    text = _log(state)
    if settings.json:
        print_record(env, "agent-log", {"lines": text.splitlines()})
    else:
        env.write(text.encode())
    return ExitCode.OK


def unit(env: Environment, settings: Settings, options: NoOptions) -> ExitCode:
    """Print a unit for systemd, of the user or of the system."""
    del options
    state = state_of(settings)
    program = shutil.which("zt", path=env.variables.get("PATH"))
    words = program if program is not None else f"{sys.executable} -m ztcli"
    networks = "".join(f" --network {network}" for network in settings.networks)
    env.print(
        "[Unit]\n"
        "Description=A ZeroTier node for zt\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=notify\n"
        f"ExecStart={words} --state {state}{networks} agent run\n"
        "Restart=on-failure\n"
        "\n"
        "[Install]\n"
        "WantedBy=default.target"
    )
    return ExitCode.OK


# What runs.


def _show(env: Environment, settings: Settings, about: Values) -> ExitCode:
    values = {
        "running": True,
        "pid": about["pid"],
        "command": about["command"],
        "node": about["node"],
        "networks": about["networks"],
        "state": about["state"],
        "socket": about["socket"],
        "riders": about["riders"],
        "uptime_s": round(time.time() - float(about["started"]), 1),
    }
    if settings.json:
        print_record(env, "agent", values)
        return ExitCode.OK
    env.print(f"{values['command']}: {values['node']} pid {values['pid']} {values['socket']}")
    for network in about["networks"]:
        env.print(f"  {network}")
    return ExitCode.OK


def _needed(state: Path) -> Values:
    about = _about(state)
    if about is None:
        raise CommandError(f"no agent runs for {state}", ExitCode.NO_AGENT, "zt agent start")
    return about


def _about(state: Path) -> Values | None:
    return asyncio.run(_ask(state, "about"))


async def _ask(state: Path, what: str, values: Values | None = None) -> Values | None:
    path = bound_path(state)
    found = await ask(path, what, values) if path is not None else None
    return {**found, "socket": str(path)} if found is not None else None


def _is_held(state: Path) -> bool:
    """Tell whether a process holds the state."""
    import fcntl

    with suppress(OSError), (state / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _log(state: Path) -> str:
    try:
        with (state / _LOG).open("rb") as stream:
            return stream.read(_LOG_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        raise CommandError("no agent was started here", ExitCode.NO_AGENT) from None


agent_app = new_app("Run a node in the background, for other commands to use.")
agent_app.command("run", context_settings=CONTEXT)(
    bind("agent run", run, RunOptions, "Run a node here until a signal comes.")
)
agent_app.command("start", context_settings=CONTEXT)(
    bind_invocation("agent start", start, StartOptions, "Run a node in the background.")
)
agent_app.command("stop", context_settings=CONTEXT)(bind("agent stop", stop, NoOptions, "Stop it."))
agent_app.command("status", context_settings=CONTEXT)(
    bind("agent status", status, NoOptions, "Print what runs; 89 if nothing does.")
)
agent_app.command("log", context_settings=CONTEXT)(
    bind("agent log", log, LogOptions, "Print what it said, or choose how much it says.")
)
agent_app.command("reload", context_settings=CONTEXT)(
    bind("agent reload", reload, NoOptions, "Have it join what the config file names by now.")
)
agent_app.command("unit", context_settings=CONTEXT)(
    bind("agent unit", unit, NoOptions, "Print a unit for systemd.")
)
