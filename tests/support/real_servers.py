"""Servers that others wrote, on the loopback interface of a `Machine`: sshd, nginx and Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.netns import Machine, Unavailable
from tests.support.zt_process import wait_until

SSH_PORT: Final = 2222
HTTP_PORT: Final = 8080
REDIS_PORT: Final = 6379
START_SECONDS: Final = 20.0
_SBIN: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def program(name: str) -> str:
    """Return where a program is; Unavailable if it is nowhere."""
    found = shutil.which(name, path=_SBIN)
    if found is None:
        raise Unavailable(f"the program `{name}` is missing")
    return found


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers keep what they serve, and the key that sshd lets in."""

    root: Path
    key: Path


@contextmanager
def servers(machine: Machine, folder: Path) -> Iterator[Servers]:
    """Run all three; nginx serves and takes files under `/`, sshd knows one key."""
    root = folder / "www"
    root.mkdir(parents=True)
    # nginx's workers are not root.
    for place in (root, *root.parents):
        if place.stat().st_uid == os.geteuid() and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o755 if place != root else 0o777)
    made = Servers(root, folder / "key")
    commands = [_sshd(folder, made.key), _nginx(folder, root), _redis(folder)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"server-{number}.log").open("wb") as log:
                running.append(machine.popen(command, stdout=log, stderr=log))
        for port in (SSH_PORT, HTTP_PORT, REDIS_PORT):
            wait_until(f"port {port} is open", lambda: _is_open(machine, port), START_SECONDS)  # noqa: B023 - asked at once
        yield made
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _is_open(machine: Machine, port: int) -> bool:
    told = machine.run(["ss", "-Hltn", f"sport = :{port}"], seconds=10.0)
    return bool(told.stdout.strip())


def _sshd(folder: Path, key: Path) -> list[str]:
    keygen = program("ssh-keygen")
    for file in (key, folder / "host-key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    config = folder / "sshd.conf"
    config.write_text(
        textwrap.dedent(f"""\
            ListenAddress 127.0.0.1
            Port {SSH_PORT}
            HostKey {folder}/host-key
            PidFile none
            AuthorizedKeysFile {key}.pub
            StrictModes no
            PasswordAuthentication no
            Subsystem sftp internal-sftp
        """)
    )
    return [program("sshd"), "-D", "-e", "-f", str(config)]


def _nginx(folder: Path, root: Path) -> list[str]:
    config = folder / "nginx.conf"
    places = "".join(
        f"    {name}_temp_path {folder}/nginx-{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off;\nuser root;\npid {folder}/nginx.pid;\nerror_log stderr;\n"
        "events {}\nhttp {\n    access_log off;\n    client_max_body_size 0;\n"
        f"{places}"
        f"    server {{\n        listen 127.0.0.1:{HTTP_PORT};\n        root {root};\n"
        "        dav_methods PUT;\n    }\n}\n"
    )
    return [program("nginx"), "-c", str(config), "-p", str(folder), "-e", "stderr"]


def _redis(folder: Path) -> list[str]:
    options = ("--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    return [program("redis-server"), *options]
