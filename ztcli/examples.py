"""Command lines to copy, which the help of a command ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ztcli.endings import MEANINGS, codes_of

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "agent log": (
        "zt agent log",
        "zt agent log --level debug",
    ),
    "agent reload": (
        "zt agent reload",
        "zt agent reload -n home",
    ),
    "agent run": (
        "zt agent run -n lab",
        "zt agent run --ready-file ready --health 9080",
    ),
    "agent start": (
        "zt agent start -n lab --idle-timeout 10m",
        "zt --profile ci agent start",
    ),
    "agent status": (
        "zt agent status",
        "zt agent status --json",
    ),
    "agent stop": (
        "zt agent stop",
        "zt --profile ci agent stop",
    ),
    "agent unit": (
        "zt agent unit -n lab > ~/.config/systemd/user/zt.service",
        "zt agent unit -n lab --relay off",
    ),
    "bench": (
        "zt bench serve",
        "zt bench 10.121.15.99",
        "zt bench db --udp --bitrate 100M --bidir",
        "zt bench local",
    ),
    "bond list": (
        "zt bond list",
        "zt bond list --json",
    ),
    "bond show": (
        "zt bond show a1b2c3d4e5",
        "zt bond show db --watch",
    ),
    "call": (
        "zt call http://10.121.15.99:5380/",
        "printf 'PING\\r\\n' | zt call db 6379",
        "tar c photos | zt call 10.121.15.20 7777",
        "zt call -z db 20-30,443",
    ),
    "completion install": (
        "zt completion install bash",
        "zt completion install fish",
    ),
    "completion show": (
        "zt completion show bash > ~/.local/share/bash-completion/completions/zt",
        "zt completion show zsh",
    ),
    "config check": (
        "zt config check",
        "zt --config ./zt.toml config check --json",
    ),
    "config show": (
        "zt config show --origin",
        "ZT_NETWORK=lab zt --profile ci config show",
    ),
    "controller run": (
        "zt controller run --state controller --planet planet",
        "zt controller run --state controller --api-port 9993 --ready-file ready",
    ),
    "docs": (
        "zt docs",
        "zt docs commands",
        "zt docs E082",
    ),
    "doctor": (
        "zt doctor -n lab",
        "zt doctor --bundle zt.zip",
    ),
    "expose": (
        "zt expose 5000 --listen 80 --allow 9f8e7d6c5b",
        "zt expose 8080:127.0.0.1:5000 22",
        "zt expose 53:127.0.0.1:53/udp",
    ),
    "forward": (
        "zt forward 5432:db:5432 0:nas:443 53:10.121.0.2:53/udp",
        "zt forward unix:/tmp/db.sock:db:5432",
        "zt forward -:db:22",
    ),
    "help": (
        "zt help call",
        "zt help network create",
        "zt help env",
    ),
    "host add": (
        "zt host add db 10.121.15.99",
        "zt host add nas a1b2c3d4e5",
    ),
    "host list": (
        "zt host list",
        "zt host list --json",
    ),
    "host rm": (
        "zt host rm db",
        "zt --profile ci host rm db",
    ),
    "identity export": (
        "zt identity export > safe/identity.secret",
        "zt identity export --public",
    ),
    "identity import": (
        "zt identity import safe/identity.secret",
        "zt --profile ci identity import - < safe/identity.secret",
    ),
    "identity new": (
        "zt identity new",
        "zt identity new --state root",
        "zt identity new --force",
    ),
    "identity show": (
        "zt identity show",
        "zt identity show --secret > secret",
    ),
    "identity sign": ("zt identity sign release.tar", "tar c . | zt identity sign -"),
    "identity validate": (
        "zt identity validate identity.public",
        "zt identity validate - < identity.public",
    ),
    "identity verify": (
        "zt identity verify release.tar 00ff --by identity.public",
        "tar c . | zt identity verify - 00ff --json",
    ),
    "ip": (
        "zt ip -4",
        'ssh "$(zt ip -4)"',
        "zt ip --all --json",
    ),
    "join": (
        "zt join lab=8056c2e21c000001 --once",
        "zt join lab --once --wait-auth 10m",
        "zt join lab --ephemeral --authorize --token-file ~/.zt-token --ready-file ready",
    ),
    "lab up": (
        "zt lab up --state lab --ready-file ready",
        "zt lab up --state lab --host 192.0.2.1 --private",
    ),
    "leave": (
        "zt leave lab",
        "zt leave 8056c2e21c000001 --forget",
    ),
    "listen": (
        "zt listen 7777 --tcp > backup.tar",
        "zt listen 8080 --dir public",
        "zt listen 7 --tcp --echo -k",
        "zt listen 0 --mode http --body ok --ready-file ready",
    ),
    "man": (
        "zt man",
        "zt man call",
    ),
    "moon deorbit": (
        "zt moon deorbit 00000062f865ae71",
        "zt moon deorbit 00000062f865ae71 --json",
    ),
    "moon list": (
        "zt moon list",
        "zt moon list --json",
    ),
    "moon make": (
        "zt moon make --root root/identity.public@192.0.2.10:9993 --sign-with root -o moon",
        "zt moon make --root a@192.0.2.10:9993 --root b@192.0.2.11:9993 --sign-with a -o moon",
    ),
    "moon orbit": (
        "zt moon orbit 00000062f865ae71 62f865ae71",
        "zt moon orbit ./moon",
    ),
    "netcheck": (
        "zt netcheck",
        "zt netcheck --every 10s --json",
    ),
    "network adhoc": (
        "zt network adhoc 22-22",
        "zt network adhoc 8000-8080",
    ),
    "network alias": (
        "zt network alias lab 8056c2e21c000001",
        "zt network alias",
        "zt network alias --rm lab",
    ),
    "network authorize": (
        "zt network authorize lab a1b2c3d4e5 --token-file ~/.zt-token",
        "zt network authorize 8056c2e21c000001 a1b2c3d4e5 --name db --ip 10.20.0.5",
        "zt network authorize 8056c2e21c000001 a1b2c3d4e5 --tag 1000=2 --capability 2000",
    ),
    "network create": (
        "zt network create --state controller --name office --pool 10.20.0.0/24",
        "zt network create --state controller --public --6plane --mtu 9000",
    ),
    "network deauthorize": (
        "zt network deauthorize lab a1b2c3d4e5 --token-file ~/.zt-token",
        "zt network deauthorize 8056c2e21c000001 a1b2c3d4e5 --state controller",
    ),
    "network delete": (
        "zt network delete 8056c2e21c000001 --state controller",
        "zt network delete lab --token-file ~/.zt-token",
    ),
    "network list": (
        "zt network list --state controller",
        "zt network list --token-file ~/.zt-token --json",
    ),
    "network members": (
        "zt network members lab --token-file ~/.zt-token",
        "zt network members 8056c2e21c000001 --state controller --json",
    ),
    "network rules": (
        "zt network rules 8056c2e21c000001 rules.txt --state controller",
        "echo 'accept;' | zt network rules lab -",
    ),
    "network set": (
        "zt network set lab --mtu 9000 --token-file ~/.zt-token",
        "zt network set 8056c2e21c000001 --route 10.30.0.0/16 --state controller",
    ),
    "network info": ("zt network info lab --token-file ~/.zt-token",),
    "network show": (
        "zt network show 8056c2e21c000001 --state controller",
        "zt network show lab --token-file ~/.zt-token --json",
    ),
    "networks": (
        "zt networks",
        "zt networks --json",
    ),
    "peers": (
        "zt peers",
        "zt peers --active --watch",
        "zt peers --json",
    ),
    "ping": (
        "zt ping db",
        "zt ping 10.121.15.99 -c 4 -i 1s",
        "zt ping a1b2c3d4e5 --until-direct",
        "zt ping db --tcp 22 --json",
    ),
    "planet make": (
        "zt planet make --root root/identity.public@192.0.2.10:9993 --sign-with root -o planet",
        "zt planet make --root a@192.0.2.10:9993 --root b@192.0.2.11:9993 --sign-with a --force",
    ),
    "planet show": (
        "zt planet show",
        "zt planet show ./planet --json",
    ),
    "proxy": (
        "zt proxy",
        "zt proxy --listen 127.0.0.1:0 --ready-file ready",
        "zt proxy --listen 0.0.0.0:1080 --auth-file users",
    ),
    "relay run": (
        "zt relay run",
        "zt relay run --listen 192.0.2.10:443 --max-conns 100",
    ),
    "root run": (
        "zt root run --state root --planet planet",
        "zt root run --state root --planet planet --bind-udp 192.0.2.10:9993",
    ),
    "run": (
        "zt run -- curl http://10.121.15.99:5380/",
        "zt run --allow-ports 80,443 -- pytest -q tests/against_staging",
    ),
    "schema": (
        "zt schema",
        "zt schema status",
    ),
    "selftest": (
        "zt selftest",
        "zt selftest --deep --json",
    ),
    "ssh": (
        "zt ssh me@10.121.15.9",
        "zt -n lab ssh root@nas uptime",
    ),
    "ssh-config": (
        "zt ssh-config --host '*.zt' >> ~/.ssh/config",
        "zt -n lab ssh-config --host '10.121.15.*' --install",
    ),
    "status": (
        "zt status",
        "zt status --watch",
        "zt status --watch --json",
    ),
    "trace": (
        "zt trace db",
        "zt trace a1b2c3d4e5 --json",
    ),
    "udp-listen": (
        "zt udp-listen 9000",
        "zt udp-listen 9000 --echo --count 1",
        "zt udp-listen 5353 --group 224.0.0.251 --format hex",
        "zt udp-listen 9000 --json",
    ),
    "udp-send": (
        "zt udp-send --to 10.121.15.20:9000 --data ping --wait 2s",
        "echo -n hello | zt udp-send --to db:9000",
    ),
    "up": (
        "zt up",
        "zt up db web --ready-file ready",
        "zt up --dry-run",
    ),
    "version": (
        "zt version",
        "zt version --json",
    ),
    "wait": (
        "zt wait --for ip --timeout 2m",
        "zt wait --for direct=db --for tcp=db:5432",
        "zt wait --for http=http://10.121.15.99:8080/healthz",
    ),
}


def lines_of(name: str) -> tuple[str, ...]:
    """Return the examples of a command; of a group, the first of each command in it."""
    name = "call" if name == "nc" else name
    inside = [lines[0] for other, lines in EXAMPLES.items() if other.startswith(f"{name} ")]
    return EXAMPLES.get(name, tuple(inside))


def epilog(name: str) -> str:
    """Return the last paragraphs of the help of a command: examples, and what it ends with."""
    shown = ("\b", "Examples:", *(f"  {line}" for line in lines_of(name)))
    ends = [f"  {int(code):<4} {MEANINGS[code]}" for code in codes_of(name)]
    return "\n".join((*shown, "", "\b", "Exit codes:", *ends))
