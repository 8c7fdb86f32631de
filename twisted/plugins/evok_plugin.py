"""What `twistd` offers by our name."""

from twisted.application.service import ServiceMaker

evok = ServiceMaker("evok", "evok_twisted.tap", "Inputs and outputs of Unipi PLCs over WebSocket and HTTP.", "evok")
simulator = ServiceMaker(
    "evok-simulator", "evok_twisted.simulator.tap", "Unipi boards that do not exist, over Modbus TCP.", "evok-simulator"
)
