"""The demo: a simulated Neuron L533 with 1-Wire sensors on this machine, and the configuration that finds it."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IProtocolFactory

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.definitions import Definition, Definitions
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.life import Life
from evok_twisted.simulator.owserver import OwServerSimulator, humidity_sensor, thermometer
from evok_twisted.simulator.server import SimulatorFactory

MODELS = ("00", "13", "13")


def make(definitions: Definitions, reactor: Any) -> tuple[cfg.Config, IService]:
    """A configuration with one unit on a free port, and the service that is this unit.

    :raises ConfigError: the definitions of its boards are not there.
    """
    boards: list[Definition] = []
    for model in MODELS:
        definition = definitions.get(model)
        assert definition is not None, "the shipped definitions are sound"
        boards.append(definition)
    simulated = {n: SimulatedBoard(definition) for n, definition in enumerate(boards, start=1)}
    service = MultiService()
    settings = busconfig.ModbusTcpSettings(
        hostname="127.0.0.1",
        port=_serve(SimulatorFactory(simulated), service, reactor),
        device_info=busconfig.DeviceInfoSettings(family="Neuron", model="L533", sn=0, board_count=len(MODELS)),
    )
    bus = busconfig.Bus(
        "DEMO",
        settings,
        tuple(
            busconfig.Board(str(n), n + 1, busconfig.DeviceSettings(slave_id=n, model=definition.model), definition)
            for n, definition in enumerate(boards, start=1)
        ),
    )
    sensors = (
        thermometer("28.95DCD5090000", reactor, 21.5),
        thermometer("28.7D1FD7090000", reactor, 4.0, phase=0.4),
        humidity_sensor("26.A1B2C3000000", reactor),
    )
    onewire = busconfig.OneWireSettings(
        hostname="127.0.0.1", port=_serve(OwServerSimulator(sensors), service, reactor), interval=3.0, owpower="1"
    )
    Life(simulated.values(), reactor).setServiceParent(service)
    # what somebody tries out is no concern of the next start
    return cfg.Config(apis=cfg.Apis(alias_file=""), buses=(bus, busconfig.Bus("OWFS", onewire, ()))), service


def _serve(factory: IProtocolFactory, service: MultiService, reactor: Any) -> int:
    """Serve on a free port while ``service`` runs; the port."""
    # bound here, so that the port is known before anything runs, and nobody else can take it
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    endpoint = AdoptedStreamServerEndpoint(reactor, listening.detach(), socket.AF_INET)
    StreamServerEndpointService(endpoint, factory).setServiceParent(service)
    return port
