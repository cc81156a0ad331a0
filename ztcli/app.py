"""The `zt` application: the names of its commands, each loaded only when it is run."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from ztcli import config
from ztcli.binding import CONTEXT, Invocation, learn_common
from ztcli.boundary import Manner, run_command
from ztcli.config import Config
from ztcli.engines import make_engine
from ztcli.environment import Environment
from ztcli.examples import epilog
from ztcli.exit_codes import ExitCode, UsageProblem

# name: (module, its Typer application, what the list of commands says)
COMMANDS: Final = {
    "call": ("ztcli.commands.call", "call_app", "Open a stream to HOST PORT, or fetch a URL."),
    "nc": ("ztcli.commands.call", "call_app", "The same as call."),
    "listen": ("ztcli.commands.listen", "listen_app", "Accept streams or HTTP requests."),
    "udp-listen": ("ztcli.commands.udp", "udp_listen_app", "Print datagrams; answer pings."),
    "udp-send": ("ztcli.commands.udp", "udp_send_app", "Send a datagram."),
    "expose": ("ztcli.commands.expose", "expose_app", "Lead a port of the network to a service."),
    "forward": ("ztcli.commands.forward", "forward_app", "Lead local ports to the network."),
    "proxy": (
        "ztcli.commands.proxy",
        "proxy_app",
        "SOCKS and HTTP on a local port, into the network.",
    ),
    "up": ("ztcli.commands.up", "up_app", "Start what the config file lists."),
    "run": (
        "ztcli.commands.run",
        "run_app",
        "Run a program whose connections go into the network.",
    ),
    "ssh": ("ztcli.commands.ssh", "ssh_app", "Run ssh through the network."),
    "ssh-config": ("ztcli.commands.ssh", "ssh_config_app", "Print what ~/.ssh/config needs."),
    "join": ("ztcli.commands.join", "join_app", "Join networks, print what they gave us."),
    "leave": ("ztcli.commands.networks", "leave_app", "Leave a network; its name is kept."),
    "networks": (
        "ztcli.commands.networks",
        "networks_app",
        "Print the networks, left ones too.",
    ),
    "host": ("ztcli.commands.host", "host_app", "Names for hosts, asked before the DNS."),
    "wait": ("ztcli.commands.wait", "wait_app", "Wait until the network can do what is asked."),
    "ip": ("ztcli.commands.join", "ip_app", "Print this node's addresses."),
    "status": ("ztcli.commands.status", "status_app", "Print what this node knows."),
    "peers": ("ztcli.commands.status", "peers_app", "Print the peers and the paths to them."),
    "ping": ("ztcli.commands.ping", "ping_app", "Ask a node or an address for signs of life."),
    "netcheck": (
        "ztcli.commands.netcheck",
        "netcheck_app",
        "Print how the roots are reached from here.",
    ),
    "trace": ("ztcli.commands.trace", "trace_app", "Print the way to a node, stage by stage."),
    "doctor": (
        "ztcli.commands.doctor",
        "doctor_app",
        "Look at this machine, its state and its networks.",
    ),
    "bond": ("ztcli.commands.bond", "bond_app", "Show several paths that are used as one."),
    "bench": ("ztcli.commands.bench", "bench_app", "Measure latency and throughput."),
    "selftest": (
        "ztcli.commands.selftest",
        "selftest_app",
        "Check, without a network, that all of it works on this machine.",
    ),
    "agent": (
        "ztcli.commands.agent",
        "agent_app",
        "Run a node in the background, for other commands to use.",
    ),
    "config": ("ztcli.commands.config", "config_app", "Show and check the configuration."),
    "identity": ("ztcli.commands.identity", "identity_app", "Make, move and check identities."),
    "network": ("ztcli.commands.network", "network_app", "Manage the networks of a controller."),
    "controller": ("ztcli.commands.controller", "controller_app", "Run a network controller."),
    "planet": ("ztcli.commands.planet", "planet_app", "Make and show sets of roots."),
    "moon": ("ztcli.commands.moon", "moon_app", "Orbit, list and make moons."),
    "root": ("ztcli.commands.planet", "root_app", "Run a private root."),
    "relay": ("ztcli.commands.relay", "relay_app", "Run a TCP relay of your own."),
    "lab": ("ztcli.commands.lab", "lab_app", "A root, a controller and a network on this machine."),
    "completion": (
        "ztcli.commands.about",
        "completion_app",
        "Print or install completions for a shell.",
    ),
    "man": ("ztcli.commands.about", "man_app", "Print a manual page."),
    "help": (
        "ztcli.commands.help",
        "help_app",
        "Print the help of a command, or the variables of all.",
    ),
    "docs": ("ztcli.commands.docs", "docs_app", "Print a page of the documentation."),
    "schema": (
        "ztcli.commands.schema",
        "schema_app",
        "Print the JSON Schema of what --json prints.",
    ),
    "version": ("ztcli.commands.about", "version_app", "Print the version."),
}
_HIDDEN: Final = ("nc",)
# What works whatever is in a configuration file.
_WITHOUT_CONFIG: Final = frozenset(
    ("--help", "-h", "--version", "version", "help", "completion", "man", "docs", "schema")
)


def load(name: str) -> TyperCommand | TyperGroup:
    """Import a command and make it."""
    module, attribute, _ = COMMANDS[name]
    application: typer.Typer = getattr(importlib.import_module(module), attribute)
    command = typer.main.get_command(application)
    assert isinstance(command, TyperCommand | TyperGroup)
    command.name = name
    command.epilog = epilog(name)
    _take_lines(command)
    for child_name, child in getattr(command, "commands", {}).items():
        child.epilog = epilog(f"{name} {child_name}")
        _take_lines(child)
    return command


def _take_lines(command: Any) -> None:  # noqa: ANN401 - a command of the Click inside Typer
    """Read variables of options that may be repeated line by line: their values have spaces."""
    for parameter in command.params:
        if getattr(parameter, "multiple", False):
            parameter.type.envvar_list_splitter = "\n"


class LazyGroup(TyperGroup):
    """Lists commands without importing them; imports the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - Typer's own type
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(
            cmd_name, help=entry[2], hidden=cmd_name in _HIDDEN, rich_markup_mode=None
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        name = args[0]
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean: zt {near[0]}" if near else "see: zt --help"
            raise UsageProblem(f"no such command: {name}", hint)
        command = load(name)
        invocation: Invocation = ctx.obj
        own = frozenset(
            parameter.name or "" for parameter in command.params if parameter.envvar is not None
        )
        ctx.default_map = {name: invocation.config.of_command(name, own)}
        return name, command, args[1:]


def application() -> Any:  # noqa: ANN401 - a command of the Click inside Typer
    """Return the whole application as a Click command."""
    app = typer.Typer(
        cls=LazyGroup,
        help="ZeroTier from Python, with nothing installed.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
        invoke_without_command=False,
    )
    app.callback()(learn_common())
    # Typer wants one command to make a group; the real ones are in COMMANDS.
    app.command("version")(lambda: None)
    return typer.main.get_command(app)


def short_help() -> str:
    """Return what is said to whoever names no command."""
    width = max(map(len, COMMANDS)) + 2
    lines = [
        f"  {name:<{width}}{entry[2]}" for name, entry in COMMANDS.items() if name not in _HIDDEN
    ]
    head = ["Usage: zt [OPTIONS] COMMAND [ARGS]...", "", "Commands:"]
    return "\n".join(
        (*head, *lines, "", "zt COMMAND --help tells more; zt --help has the options.")
    )


def run(arguments: Sequence[str], env: Environment) -> int:
    """Run one command line and return its exit code."""
    manner = Manner(json="--json" in arguments, trace="--trace" in arguments)
    manner.trace = manner.trace or bool(env.variables.get("LIBZT_CLI_TRACE"))
    invocation = Invocation(env, manner)

    def command() -> object:
        words = list(arguments)
        if words[:1] == ["--version"]:
            words[0] = "version"
        if "forward" in words:
            # `-:HOST:PORT` is no option, whatever its first letter says.
            words = [f"stdio{word[1:]}" if word.startswith("-:") else word for word in words]
        if not words:
            env.say(short_help())
            return ExitCode.USAGE
        root = application()
        invocation.config = _config(env, words, root)
        return root.main(
            args=words,
            prog_name="zt",
            standalone_mode=False,
            obj=invocation,
            default_map=dict(invocation.config.common),
        )

    return run_command(env, manner, command)


def _config(env: Environment, words: Sequence[str], root: Any) -> Config:  # noqa: ANN401
    """Read the configuration file that the words or the variables name, if there is one."""
    path = config.find(env, _value_of("--config", words))
    if path is None:
        return Config()
    profile = _value_of("--profile", words) or env.variables.get("ZT_PROFILE") or "default"
    try:
        return config.read(path, profile, root, load, frozenset(COMMANDS))
    except UsageProblem:
        if _WITHOUT_CONFIG.isdisjoint(words):
            raise
        return Config()


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """Return what follows an option, before whatever belongs to another program."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word in ("--", "ssh"):
            break
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def main() -> None:
    """Run the command line of this process."""
    _fill_descriptors()
    code = run(sys.argv[1:], Environment.of_process(make_engine))
    sys.exit(_flush(code))


def _fill_descriptors() -> None:
    """Open what the caller closed, lest a socket of ours becomes stdin or stdout.

    A closed stdin is one at its end; writing to a closed stdout stays an error.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)
    if sys.stderr is None:
        # Python found it closed; what is said there goes nowhere, and that is no error.
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def _flush(code: int) -> int:
    """Write out what Typer left in its buffer, the help; return the code to exit with."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = code or ExitCode.OUTPUT_CLOSED
    except (OSError, ValueError):
        code = code or ExitCode.CANNOT_WRITE
    else:
        return code
    # Python would flush once more at its end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code
