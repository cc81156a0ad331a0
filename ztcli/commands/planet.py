"""zt planet and zt root: make a private set of roots, and run one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ztcli import parsing, ready, runner
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.files import replace_file
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_event, print_record
from ztcli.ready import ReadyFd, ReadyFile

Text = str | None


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """Options of zt planet make."""

    root: Annotated[
        list[str],
        typer.Option("--root", metavar="IDENTITY@IP:PORT", help="A root; a file or the text."),
    ]
    sign_with: Annotated[
        str, typer.Option("--sign-with", metavar="STATE|FILE", help="Secret identity to sign with.")
    ]
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = "planet"
    force: Annotated[bool, typer.Option("--force", help="Replace the file there.")] = False


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Options of zt planet show."""

    file: Annotated[Text, typer.Argument(metavar="[FILE]", help="Default: the one in use.")] = None


@dataclass(frozen=True, slots=True)
class RootOptions:
    """Options of zt root run."""

    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None


def make(env: Environment, settings: Settings, options: MakeOptions) -> ExitCode:
    import ztstack

    output = Path(options.output)
    roots = named_roots(options.root)
    signer = read_signer(settings, options.sign_with)
    now = int(time.time() * 1_000_000)
    world = ztstack.make_planet(now, roots, signer, ztstack.SystemEntropy())
    write_world(output, world.serialize(), force=options.force)
    if settings.json:
        print_record(env, "planet", {"file": str(output), "id": f"{world.id:016x}"})
    else:
        env.print(f"{output}: planet {world.id:016x} with {len(world.roots)} roots")
    return ExitCode.OK


def named_roots(texts: list[str]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Read IDENTITY@IP:PORT of each root; one that is named again has several endpoints."""
    places = [parsing.identity_at(text) for text in texts]
    import ztstack

    roots: dict[str, tuple[Any, list[ztstack.Endpoint]]] = {}
    for text, host, port in places:
        identity = _public(text)
        entry = roots.setdefault(str(identity.address), (identity, []))
        entry[1].append(ztstack.Endpoint.parse(f"{host}/{port}"))
    return [(identity, tuple(endpoints)) for identity, endpoints in roots.values()]


def read_signer(settings: Settings, text: str) -> Any:  # noqa: ANN401 - as above
    """Read the secret identity of a state directory or a file."""
    import ztstack

    secret = Path(text)
    if secret.is_dir():
        secret /= "identity.secret"
    return ztstack.read_identity(secret, insecure=settings.insecure_state)


def write_world(output: Path, data: bytes, *, force: bool) -> None:
    """Write a world file; what is there is replaced with `force` only."""
    if output.exists() and not force:
        raise UsageProblem(f"{output}: is there already", "replace it with --force")
    replace_file(output, data, 0o644)


def _public(text: str) -> Any:  # noqa: ANN401 - the class is loaded in here
    import ztstack

    path = Path(text)
    try:
        if path.is_dir():
            path /= "identity.public"
        if path.is_file():
            text = path.read_bytes()[:4096].decode("ascii", "replace")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_READ) from error
    try:
        identity = ztstack.Identity.parse(text)
    except ValueError as error:
        raise CommandError(f"--root {path}: {error}", ExitCode.BAD_IDENTITY) from None
    return identity.public


def show(env: Environment, settings: Settings, options: ShowOptions) -> ExitCode:
    import ztstack

    world = ztstack.parse_planet(_planet_data(settings, options.file))
    if settings.json:
        roots = [
            {
                "node": str(root.identity.address),
                "identity": root.identity.public_text(),
                "endpoints": [str(endpoint) for endpoint in root.endpoints],
            }
            for root in world.roots
        ]
        values: dict[str, object] = {
            "id": f"{world.id:016x}",
            "timestamp": world.timestamp,
            "roots": roots,
        }
        print_record(env, "planet", values)
        return ExitCode.OK
    env.print(f"planet {world.id:016x}")
    env.print(f"timestamp {world.timestamp}")
    for root in world.roots:
        places = " ".join(str(endpoint) for endpoint in root.endpoints) or "anywhere"
        env.print(f"root {root.identity.address} {places}")
    return ExitCode.OK


def _planet_data(settings: Settings, file: str | None) -> bytes:
    if file is None and settings.planet is None and settings.state is not None:
        for name in ("planet", "roots"):
            path = settings.state / name
            if path.is_file():
                return path.read_bytes()
        raise CommandError(
            f"{settings.state}: keeps no planet: the official one is used",
            ExitCode.CANNOT_READ,
            "name a file: zt planet show FILE",
        )
    named = Path(file) if file is not None else settings.planet
    if named is None:
        raise UsageProblem("name the file")
    try:
        return named.read_bytes()
    except OSError as error:
        raise CommandError(f"{named}: {error.strerror}", ExitCode.CANNOT_READ) from error


def run_root(env: Environment, settings: Settings, options: RootOptions) -> ExitCode:
    state = settings.state
    if state is None:
        raise UsageProblem("a root keeps its identity: name a directory with --state")
    ready.check(options.ready_fd)
    progress = Progress(env, settings)

    async def main() -> ExitCode:
        import ztstack
        from ztcli.engine_stack import moons_of

        try:
            identity = await ztstack.ensure_identity(
                state, insecure=settings.insecure_state, progress=progress.tried
            )
        finally:
            progress.clear()
        kept = settings.planet is not None or any(
            (state / name).is_file() for name in ("planet", "roots")
        )
        # A root of a moon may live under the official planet.
        planet = _planet_data(settings, None) if kept else None
        bind = tuple(ztstack.Endpoint.parse(f"{host}/{port}") for host, port in settings.bind)
        config = ztstack.root_config(state, identity, planet, bind)
        node = ztstack.Node(
            replace(
                config,
                moons=moons_of(settings),
                port_mapping=settings.port_mapping,
                capture=ztstack.CaptureFiles(settings.pcap, settings.pcap_wire),
            )
        )
        await node.start()
        try:
            status = node.status()
            values: dict[str, object] = {
                "node": str(status.address),
                "planet": status.planet,
                "local": list(status.local),
            }
            if settings.json:
                print_event(env, "ready", values)
            else:
                env.print(f"Root: {status.address} on {', '.join(status.local)}")
            ready.announce(env, values, options.ready_file, options.ready_fd)
            await asyncio.Event().wait()
        finally:
            ready.withdraw(options.ready_file)
            await node.stop()
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _make_planet_app() -> typer.Typer:
    app = new_app("Make and show sets of roots.")
    app.command("make", context_settings=CONTEXT)(
        bind("planet make", make, MakeOptions, "Make and sign a planet file.")
    )
    app.command("show", context_settings=CONTEXT)(
        bind("planet show", show, ShowOptions, "Print what a planet file says.")
    )
    return app


def _make_root_app() -> typer.Typer:
    app = new_app("Run a private root.")
    app.callback()(lambda: None)
    app.command("run", context_settings=CONTEXT)(
        bind("root run", run_root, RootOptions, "Run a root until a signal comes.")
    )
    return app


planet_app = _make_planet_app()
root_app = _make_root_app()
