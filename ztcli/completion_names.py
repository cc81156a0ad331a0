"""Shell functions that list the names of networks and hosts, from the files that keep them.

Neither Python nor a network is asked, so that a press of the tabulator is answered at once.
"""

from __future__ import annotations

from typing import Final

NETWORK_OPTIONS: Final = frozenset(("--network", "-n"))
NETWORK_WORDS: Final = ("join", "leave")
HOST_WORDS: Final = ("call", "nc", "ping", "ssh", "host rm")

# A line of names.json or of config.toml: `"lab": "8056c2e21c000001",` or `lab = "8056..."`.
_NETWORKS: Final = (
    r"/^ *network *=/d; "
    r's/^ *"?([A-Za-z_][A-Za-z0-9_-]*)"? *[:=] *"[0-9a-fA-F]{16}".*/\1/p'
)
_HOSTS: Final = (
    r's/^ *"?([A-Za-z0-9_][A-Za-z0-9_.-]*)"? *[:=] *'
    r'"([0-9]+(\.[0-9]+){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*|[0-9a-fA-F]{10})" *,? *(#.*)?$/\1/p'
)
_POSIX: Final = """\
{name}() {{
    sed -nE '{script}' "${{XDG_STATE_HOME:-$HOME/.local/state}}"/zt/*/names.json \\
        "${{XDG_CONFIG_HOME:-$HOME/.config}}/zt/config.toml" 2>/dev/null
}}
"""
_FISH: Final = """\
function {name}
    set -l state "$HOME/.local/state"
    set -q XDG_STATE_HOME; and set state "$XDG_STATE_HOME"
    set -l config "$HOME/.config"
    set -q XDG_CONFIG_HOME; and set config "$XDG_CONFIG_HOME"
    set -l files $state/zt/*/names.json $config/zt/config.toml
    sed -nE '{script}' $files 2>/dev/null
end
"""
_KINDS: Final = (("networks", _NETWORKS), ("hosts", _HOSTS))


def posix_functions() -> str:
    """Return `_zt_known_networks` and `_zt_known_hosts` for bash."""
    return "\n".join(
        _POSIX.format(name=f"_zt_known_{kind}", script=script) for kind, script in _KINDS
    )


def zsh_functions() -> str:
    """Return the same, and two that offer what they print; a glob may match nothing."""
    offers = [
        f'_zt_offer_{kind}() {{ compadd -- ${{(f)"$(_zt_known_{kind})"}} }}\n' for kind, _ in _KINDS
    ]
    return posix_functions().replace("*/names.json", "*/names.json(N)") + "\n" + "".join(offers)


def fish_functions() -> str:
    """Return `__zt_known_networks` and `__zt_known_hosts`."""
    return "\n".join(
        _FISH.format(name=f"__zt_known_{kind}", script=script.replace("\\", "\\\\"))
        for kind, script in _KINDS
    )
