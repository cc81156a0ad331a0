"""A small world between namespaces: a root and a controller on one machine, nodes on others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support import vectors
from tests.support.netns import Lan, Machine, lan
from tests.support.zt_process import Running, Zt

ROOT_PORT: Final = 9993
POOL: Final = "10.147.20.0/24"


@dataclass(slots=True)
class Site:
    """A root, a controller and their networks; `folder` holds everybody's state."""

    folder: Path
    lan: Lan
    hub: Machine
    planet: Path
    root: Zt
    controller: Zt
    root_process: Running
    controller_process: Running
    identities: Iterator[dict[str, str]]
    nodes: dict[str, Zt] = field(default_factory=dict)

    def create_network(self, *, public: bool = True, pool: str = POOL) -> str:
        """Make a network and return its id."""
        access = ("--public",) if public else ()
        return self.controller.text("network", "create", "--pool", pool, *access)

    def node(
        self, label: str, network: str, machine: Machine | None = None, *, fresh: bool = False
    ) -> Zt:
        """Return `zt` on a machine of its own, or on one that is there.

        With `fresh` it has to make its identity, which costs it some seconds.
        """
        place = machine or self.lan.machine(label)
        options = ("--planet", str(self.planet), "--network", network)
        made = Zt(place, self.folder / label / "state", options)
        made.state.parent.mkdir(exist_ok=True)
        if not fresh and not made.state.exists():
            put_identity(made.state, self.identities)
        self.nodes[label] = made
        return made

    def stop_nodes(self) -> None:
        """End whatever the nodes still run, so that the next test finds their states free."""
        for zt in self.nodes.values():
            zt.stop_all()

    def restart_controller(self) -> None:
        """Start the controller again after it was killed."""
        self.controller_process = _start_controller(self.controller)

    def restart_root(self) -> None:
        """Start the root again after it was killed."""
        self.root_process = _start_root(self.root, self.hub)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start a root and a controller; stop everything at the end."""
    with lan() as network:
        hub = network.machine("hub")
        planet = folder / "planet"
        root = Zt(hub, folder / "root" / "state", ("--planet", str(planet)))
        controller = Zt(hub, folder / "controller" / "state", ("--planet", str(planet)))
        identities = known_identities()
        made: Site | None = None
        try:
            put_identity(root.state, identities)
            put_identity(controller.state, identities)
            _make_planet(Zt(hub, root.state), hub, planet)
            running = _start_root(root, hub)
            second = _start_controller(controller)
            made = Site(folder, network, hub, planet, root, controller, running, second, identities)
            yield made
        finally:
            if made is not None:
                made.stop_nodes()
            controller.stop_all()
            root.stop_all()


def known_identities() -> Iterator[dict[str, str]]:
    """Return identities that the official implementation made; one is used once in a world."""
    return iter([case for case in vectors.load("identity.json")["cases"] if "secret" in case])


def put_identity(state: Path, identities: Iterator[dict[str, str]]) -> None:
    """Put the next known identity where a node keeps its own; without one it makes its own."""
    known = next(identities, None)
    if known is None:
        return
    state.mkdir(parents=True, mode=0o700)
    for name in ("secret", "public"):
        file = state / f"identity.{name}"
        file.touch(0o600)
        file.write_text(known[name])


def _make_planet(zt: Zt, hub: Machine, planet: Path) -> None:
    """Sign a planet with the root's identity, of which it is the only root."""
    where = f"{zt.state}@{hub.address}:{ROOT_PORT}"
    zt.text("planet", "make", "--root", where, "--sign-with", str(zt.state), "-o", str(planet))


def _start_root(root: Zt, hub: Machine) -> Running:
    running = root.start("root", "run", "--bind-udp", f"{hub.address}:{ROOT_PORT}")
    running.ready()
    return running


def _start_controller(controller: Zt) -> Running:
    running = controller.start("controller", "run")
    running.ready()
    return running
