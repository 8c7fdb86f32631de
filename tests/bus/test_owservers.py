"""The client against owservers on real sockets: the simulated one, and the real one with its own fake sensors."""

from __future__ import annotations

import pytest
import pytest_twisted
from real_owserver import RealOwServer, needs_owserver
from stack import turn
from twisted.internet import reactor

from evok_twisted.bus.owserver import OwServer
from evok_twisted.errors import Refused
from evok_twisted.hosts import HostEndpoint
from evok_twisted.simulator.owserver import OwServerSimulator, SimulatedSensor

THERMOMETER, MONITOR, SWITCH = "28.000028D70000", "A6.0000A6590100", "29.000029D60200"
TESTER = ("--tester", "DS18B20,DS2438,DS2408")


class Simulated:
    """The simulated owserver with the sensors of the real one's tester."""

    def __init__(self):
        levels = "1,0,1,0,1,0,1,0"
        self.factory = OwServerSimulator(
            [
                SimulatedSensor(THERMOMETER, "DS18B20", {"temperature": "           4", "latesttemp": "           4"}),
                SimulatedSensor(
                    MONITOR, "DS2438", dict.fromkeys(("temperature", "VDD", "VAD", "vis", "humidity"), "5")
                ),
                SimulatedSensor(SWITCH, "DS2408", {"sensed.ALL": levels, "PIO.ALL": levels}, ["PIO.0"]),
            ]
        )
        self.port = None

    def start(self):
        listening = reactor.listenTCP(self.port or 0, self.factory, interface="127.0.0.1")
        self._listening, self.port = listening, listening.getHost().port
        return self

    def stop(self):
        self.factory.drop_connections()
        return self._listening.stopListening()


class Client:
    def __init__(self, port):
        self.server = OwServer("TEST", HostEndpoint(reactor, "127.0.0.1", port, 3), reactor)
        self.turns = []
        self.server.watch(self.turns.append)
        self.server.service.startService()

    async def until(self, turns, seconds=10.0):
        deadline = reactor.seconds() + seconds
        while self.turns != turns:
            assert reactor.seconds() < deadline, f"not {turns} but {self.turns} within {seconds} s"
            await turn(0.01)


def kinds(**options):
    real = pytest.param(lambda: RealOwServer(*TESTER, *options.get("real", ())), id="owserver", marks=needs_owserver)
    return [pytest.param(Simulated, id="simulator"), real]


@pytest_twisted.async_yield_fixture
async def running(request):
    server = request.param().start()
    client = Client(server.port)
    await client.until([True])
    client.process = server
    yield client
    client.server.service.stopService()
    await turn(0)
    stopping = server.stop()
    if stopping is not None:
        await stopping


every_owserver = pytest.mark.parametrize("running", kinds(), indirect=True)
crazy = pytest.mark.parametrize("running", kinds(real=("--pingcrazy", "--no_persistence"))[1:], indirect=True)
impatient = pytest.mark.parametrize(
    "running", kinds(real=("--timeout_persistent_low=1", "--timeout_persistent_high=1"))[1:], indirect=True
)


@every_owserver
@pytest_twisted.ensureDeferred
async def test_the_sensors_are_in_the_directory(running):
    expected = {f"/uncached/{address}" for address in (THERMOMETER, MONITOR, SWITCH)}
    assert expected <= set(await running.server.directory("/uncached"))


@every_owserver
@pytest_twisted.ensureDeferred
async def test_properties_are_read(running):
    server = running.server
    assert await server.read(f"/{THERMOMETER}/type") == "DS18B20"
    assert await server.read(f"/uncached/{THERMOMETER}/temperature") == "4"
    assert await server.read(f"/uncached/{THERMOMETER}/latesttemp") == "4"
    assert await server.read(f"/uncached/{SWITCH}/sensed.ALL") == "1,0,1,0,1,0,1,0"
    for name in ("temperature", "VDD", "VAD", "vis", "humidity"):
        assert float(await server.read(f"/uncached/{MONITOR}/{name}")) >= 0


@every_owserver
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_refused(running):
    for path in ("/28.000000000000/temperature", f"/{THERMOMETER}/humidity", "/nonsense"):
        with pytest.raises(Refused):
            await running.server.read(path)
    with pytest.raises(Refused):
        await running.server.write("/29.000000000000/PIO.0", "1")
    assert await running.server.read(f"/{THERMOMETER}/type") == "DS18B20", "the connection is of use still"


@every_owserver
@pytest_twisted.ensureDeferred
async def test_presence_is_told(running):
    assert await running.server.present(f"/uncached/{THERMOMETER}")
    assert not await running.server.present("/uncached/28.000000000000")


@every_owserver
@pytest_twisted.ensureDeferred
async def test_outputs_and_the_common_conversion_can_be_written(running):
    await running.server.write(f"/{SWITCH}/PIO.0", "1")
    await running.server.write("/simultaneous/temperature", "1")


@every_owserver
@pytest_twisted.ensureDeferred
async def test_many_requests_at_once_get_each_its_answer(running):
    wanted = [(THERMOMETER, "DS18B20"), (MONITOR, "DS2438"), (SWITCH, "DS2408")] * 20
    asked = [running.server.read(f"/{address}/type") for address, _ in wanted]
    assert [await answer for answer in asked] == [type for _, type in wanted]


@every_owserver
@pytest_twisted.ensureDeferred
async def test_it_is_noticed_when_it_goes_and_when_it_comes_back(running):
    stopping = running.process.stop()
    if stopping is not None:
        await stopping
    await running.until([True, False])
    running.process.start()
    await running.until([True, False, True])
    assert await running.server.read(f"/{THERMOMETER}/type") == "DS18B20"


@crazy
@pytest_twisted.ensureDeferred
async def test_keep_alives_and_a_connection_for_each_request_change_nothing(running):
    for _ in range(5):
        assert await running.server.read(f"/uncached/{THERMOMETER}/temperature") == "4"
    with pytest.raises(Refused):
        await running.server.read("/28.000000000000/temperature")
    assert running.turns == [True]


@impatient
@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_owserver_closes_is_no_news(running):
    assert await running.server.read(f"/{THERMOMETER}/type") == "DS18B20"
    deadline = reactor.seconds() + 10
    while running.server._protocol is not None:
        assert reactor.seconds() < deadline, "owserver keeps it"
        await turn(0.05)
    assert await running.server.read(f"/{THERMOMETER}/type") == "DS18B20"
    assert running.turns == [True]
