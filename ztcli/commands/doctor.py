"""zt doctor: looks at this machine, its state and its networks; a bundle is for who helps."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ztcli import runner
from ztcli.binding import CONTEXT, Invocation, bind_invocation, new_app
from ztcli.boundary import code_of
from ztcli.engine import Engine, NetCheck
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.files import replace_file
from ztcli.options import Settings
from ztcli.output.records import VERSION, print_record

SKEW_MS: Final = 60_000
LOG_BYTES: Final = 256 << 10
_OK, _WARN, _FAIL = "ok", "warning", "FAILED"
_SECRET: Final = re.compile(r"secret|token|password|proxy|identity", re.IGNORECASE)
_HIDDEN: Final = "(left out)"


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Options of zt doctor."""

    bundle: Annotated[
        str | None,
        typer.Option("--bundle", metavar="FILE", help="Put what was found into a zip, no secrets."),
    ] = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look showed."""

    check: str
    state: str
    detail: str


class _Doctor:
    """Looks at one thing after the other."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        self._env = env
        self._settings = settings
        self.findings: list[Finding] = []
        self.failure: Exception | None = None
        self.status: dict[str, object] = {}
        self.netcheck: NetCheck | None = None

    def note(self, check: str, state: str, detail: str) -> None:
        self.findings.append(Finding(check, state, detail))
        if not self._settings.json:
            self._env.print(f"{state:<8} {check:<10} {detail}")

    def look_here(self, config: Path | None) -> None:
        import ztstack

        system = f"{platform.system()} {platform.machine()}"
        self.note("zt", _OK, f"{ztstack.__version__}, Python {platform.python_version()}, {system}")
        self.note("config", _OK, str(config) if config is not None else "no file")
        state = self._settings.state
        if state is None or not state.is_dir():
            self.note("state", _OK, "nothing is kept" if state is None else f"{state}: none yet")
            return
        mode = state.stat().st_mode & 0o777
        is_open = os.name == "posix" and mode & 0o077
        told = f"{state}: others may look into it, chmod 700" if is_open else str(state)
        self.note("state", _WARN if is_open else _OK, told)

    async def look_around(self, engine: Engine) -> None:
        """Look at the roots and the networks; what fails does not stop the rest."""
        self.note("identity", _OK, engine.node_id)
        try:
            await engine.wait_online()
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            self._fail("roots", error)
        self.netcheck = await engine.netcheck()
        self._look_at_roots(self.netcheck)
        if not engine.networks:
            self.note("networks", _WARN, "none: zt join NWID")
        else:
            try:
                await engine.join()
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                self._fail("networks", error)
        self.status = await engine.status()
        networks: Any = self.status["networks"]
        for network in networks:
            told = ", ".join(network["addresses"]) or "no address"
            state = _OK if network["status"] == "OK" and network["addresses"] else _WARN
            self.note("network", state, f"{network['network']} {network['status']} {told}")

    def _look_at_roots(self, found: NetCheck) -> None:
        reached = [root for root in found.roots if root.path]
        if reached:
            links = "by UDP" if found.udp else "not by UDP"
            told = f"{len(reached)} of {len(found.roots)} answer, {links}, nat {found.nat}"
            self.note("roots", _OK if found.udp else _WARN, told)
        skews = sorted(root.clock_skew_ms for root in reached if root.clock_skew_ms is not None)
        if skews:
            skew = skews[len(skews) // 2]
            state = _OK if abs(skew) < SKEW_MS else _WARN
            self.note("clock", state, f"{skew / 1000:.1f} s from that of the roots")

    def _fail(self, check: str, error: Exception) -> None:
        self.note(check, _FAIL, str(error) or type(error).__name__)
        self.failure = self.failure or error


def doctor(invocation: Invocation, options: DoctorOptions) -> ExitCode:
    env, settings = invocation.env, invocation.settings()
    looking = _Doctor(env, settings)
    looking.look_here(invocation.config.path)

    async def main() -> ExitCode:
        try:
            async with env.engine(settings) as engine:
                await looking.look_around(engine)
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            looking.note("node", _FAIL, str(error))
            looking.failure = looking.failure or error
        return ExitCode.OK

    runner.run(env, main, settings.total_timeout())
    findings = [asdict(one) for one in looking.findings]
    names: list[str] = []
    if options.bundle is not None:
        parts = dict(_parts(env, settings, looking, invocation.config.path))
        names = sorted(parts)
        _write(options.bundle, parts)
        env.warn(settings, f"{options.bundle}: {', '.join(names)}")
        env.warn(settings, "no secrets are in it, but addresses and names are: look before sending")
    if settings.json:
        print_record(env, "doctor", {"checks": findings, "bundle": options.bundle, "files": names})
    if looking.failure is not None:
        error = looking.failure
        raise CommandError(f"not all is well: {error}", code_of(error), "see: zt docs")
    return ExitCode.OK


# The bundle.


def _parts(
    env: Environment, settings: Settings, looking: _Doctor, config: Path | None
) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each part; secrets are left out of all of them."""
    found = {"v": VERSION, "checks": [asdict(one) for one in looking.findings]}
    yield "doctor.json", json.dumps(found, indent=2)
    yield "status.json", json.dumps(looking.status, indent=2, default=str)
    if looking.netcheck is not None:
        yield "netcheck.json", json.dumps(looking.netcheck.values(), indent=2)
    yield (
        "environment.txt",
        "".join(
            f"{name}={_HIDDEN if _SECRET.search(name) else value}\n"
            for name, value in sorted(env.variables.items())
            if name.startswith(("ZT_", "LIBZT_", "XDG_")) or name in ("TERM", "NO_COLOR")
        ),
    )
    if config is not None:
        yield "config.toml", "".join(map(_without_secret, _read(config).splitlines(keepends=True)))
    state = settings.state
    if state is not None and state.is_dir():
        yield "state.txt", "".join(_listing(state))
        if (state / "agent.log").is_file():
            yield "agent.log", _read(state / "agent.log")[-LOG_BYTES:]


def _without_secret(line: str) -> str:
    key, equals, _ = line.partition("=")
    if equals and _SECRET.search(key):
        return f"{key}= {json.dumps(_HIDDEN)}\n"
    return re.sub(r"(://[^/@\s]*:)[^/@\s]*@", rf"\1{_HIDDEN}@", line)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return f"{error}\n"


def _listing(state: Path) -> Iterator[str]:
    """Yield the mode, size and name of each file: what is in them is not told."""
    for path in sorted(state.rglob("*")):
        try:
            found = path.lstat()
        except OSError:
            continue
        yield f"{found.st_mode & 0o7777:04o} {found.st_size:>9} {path.relative_to(state)}\n"


def _write(name: str, parts: dict[str, str]) -> None:
    data = io.BytesIO()
    stamp = time.localtime()[:6]
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as bundle:
        for part, text in sorted(parts.items()):
            bundle.writestr(zipfile.ZipInfo(part, stamp), text)
    replace_file(Path(name), data.getvalue(), 0o600)


def _make() -> typer.Typer:
    app = new_app()
    summary = "Look at this machine, its state and its networks."
    app.command("doctor", help=summary, context_settings=CONTEXT)(
        bind_invocation("doctor", doctor, DoctorOptions, summary)
    )
    return app


doctor_app = _make()
