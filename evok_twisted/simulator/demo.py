"""The demo: a simulated Neuron L533 on this machine, and the configuration that finds it."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import AdoptedStreamServerEndpoint

from evok_twisted import config as cfg
from evok_twisted.definitions import Definition, Definitions
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.life import Life
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
    # bound here, so that the port is known before anything runs, and nobody else can take it
    listening = socket.create_server(("127.0.0.1", 0))
    settings = cfg.ModbusTcpSettings(
        hostname="127.0.0.1",
        port=listening.getsockname()[1],
        device_info=cfg.DeviceInfoSettings(family="Neuron", model="L533", sn=0, board_count=len(MODELS)),
    )
    bus = cfg.Bus(
        "DEMO",
        settings,
        tuple(
            cfg.Board(str(n), n + 1, cfg.DeviceSettings(slave_id=n, model=definition.model), definition)
            for n, definition in enumerate(boards, start=1)
        ),
    )
    simulated = {n: SimulatedBoard(definition) for n, definition in enumerate(boards, start=1)}
    service = MultiService()
    endpoint = AdoptedStreamServerEndpoint(reactor, listening.detach(), socket.AF_INET)
    StreamServerEndpointService(endpoint, SimulatorFactory(simulated)).setServiceParent(service)
    Life(simulated.values(), reactor).setServiceParent(service)
    # what somebody tries out is no concern of the next start
    return cfg.Config(apis=cfg.Apis(alias_file=""), buses=(bus,)), service
