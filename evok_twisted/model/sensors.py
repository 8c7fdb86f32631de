"""1-Wire: what sensors show and take. Readings come as the texts that owserver gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from evok_twisted.errors import BadParameter
from evok_twisted.model import onewire
from evok_twisted.model.device import Device, State
from evok_twisted.model.meaning import means
from evok_twisted.model.onewire import circuit_of, family_of
from evok_twisted.model.parameters import Bit, Parameter, Real, Whole

#: Of ``interval``, in seconds.
INTERVAL = Real(0.1, 3600, "s")

#: What a thermometer shows after power-on until it has converted, in degrees Celsius.
POWER_ON = 85.0
#: How near to that a temperature must have been before, to be believed at once.
NEAR = 5.0
#: What no thermometer here can measure, in degrees Celsius.
COLDEST, HOTTEST = -60.0, 130.0
#: What a humidity may come out as, in percent: sensors err a little. Beyond, something else is on the pins.
DRIEST, WETTEST = -5.0, 105.0


class SensorState(State, frozen=True, kw_only=True):
    """What all show.

    ``address`` has its checksum, ``time`` is that of the last reading in seconds of the Unix epoch, ``interval`` is in
    seconds.
    """

    address: Annotated[str, means("Its address on the bus, with the checksum")]
    type: Annotated[str, means("What sensor it is, as owserver calls it")]
    interval: Annotated[
        float, means("How often it is read", "s", measures="duration", low=0.1, high=3600, writable=True)
    ]
    lost: Annotated[bool, means("Whether it does not answer any more; its last value stays")] = False
    time: Annotated[
        float | None, means("When it was read last, in seconds of the Unix epoch", "s", measures="timestamp")
    ] = None


class Sensor(Device):
    """A sensor of which nothing is known but that it is there.

    :cvar properties: what is to be read of it, in owserver's terms; without any, whether it is present.
    :cvar converts: its temperature may be converted together with that of others, and read as ``latesttemp``.
    :cvar patient: it may be asked less and less often while it is lost.
    :ivar doubted: the last reading was not believed; the next one decides.
    """

    kind = "1wdevice"
    properties: ClassVar[tuple[str, ...]] = ()
    converts: ClassVar[bool] = False
    patient: ClassVar[bool] = True
    shows = SensorState
    fields = "circuit address lost time interval type"

    state: SensorState

    def __init__(self, address: str, type: str, group: str, interval: float) -> None:
        blank = self.shows(address=onewire.checked(address), type=type, interval=interval)
        super().__init__(circuit_of(address), group, None, blank, parameters={"interval": INTERVAL, **self._settable()})
        self.address = address
        self.doubted = False

    def _settable(self) -> Mapping[str, Parameter]:
        return {}

    def writes(self, wanted: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The properties to write, in order, and the text for each."""
        return ()

    def take(self, texts: Mapping[str, str], time: float) -> bool:
        """Take a reading; whether anything but its time is new.

        :param texts: of ``properties``, those that could be read.
        :raises ValueError: nothing of it is of use.
        """
        return self._show(lost=False, time=time, **self._decoded(texts))

    def _decoded(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """The fields of the state that a reading shows."""
        return {}

    def lose(self) -> bool:
        """Nobody knows of it now; whether that is new. It keeps its last value."""
        return self._show(lost=True)

    def miss(self) -> bool:
        """It does not answer on the bus; whether that is new."""
        return self.lose()

    def set_interval(self, interval: float) -> bool:
        """Show another interval; whether it is."""
        return self._show(interval=interval)

    def _show(self, **fields: Any) -> bool:
        before, self.state = self.state, msgspec.structs.replace(self.state, **fields)
        return self.state != msgspec.structs.replace(before, time=self.state.time)


class ThermometerState(SensorState, frozen=True, kw_only=True):
    """``value`` in degrees Celsius."""

    value: Annotated[float | None, means("The temperature", "°C", measures="temperature", low=-55, high=125)] = None


class Thermometer(Sensor):
    """DS18B20 and its relatives."""

    kind = "temp"
    properties = ("temperature",)
    converts = True
    shows = ThermometerState
    fields = "circuit address value lost time interval type"

    state: ThermometerState

    def take(self, texts: Mapping[str, str], time: float) -> bool:
        value = self._decoded(texts)["value"]
        last = self.state.value
        unlikely = value == POWER_ON and (last is None or abs(last - POWER_ON) > NEAR)
        self.doubted = unlikely and not self.doubted
        return False if self.doubted else super().take(texts, time)

    def _decoded(self, texts: Mapping[str, str]) -> dict[str, Any]:
        value = _number(texts.get("temperature"), 4)
        if value is None or not COLDEST <= value <= HOTTEST:
            raise ValueError(f"{texts.get('temperature')!r} is no temperature")
        return {"value": value}


class BatteryMonitorState(SensorState, frozen=True, kw_only=True):
    """``humidity`` in percent, ``vdd`` and ``vad`` and ``vis`` in volts, ``temp`` in degrees Celsius."""

    humidity: Annotated[
        float | None,
        means("The relative humidity, of a humidity sensor on its VAD pin", "%", measures="humidity", low=0, high=100),
    ] = None
    vdd: Annotated[float | None, means("The voltage of its supply", "V", measures="voltage")] = None
    vad: Annotated[float | None, means("The voltage at its VAD pin", "V", measures="voltage")] = None
    vis: Annotated[float | None, means("The voltage at its current sense pins", "V", measures="voltage")] = None
    temp: Annotated[float | None, means("The temperature", "°C", measures="temperature")] = None


class BatteryMonitor(Sensor):
    """DS2438: a thermometer and a voltmeter, around which many sensors, of humidity among them, are built."""

    properties = ("temperature", "VDD", "VAD", "vis", "humidity")
    shows = BatteryMonitorState
    fields = "circuit address humidity vdd vad vis temp lost time interval type"

    def _decoded(self, texts: Mapping[str, str]) -> dict[str, Any]:
        fields = {
            "temp": _number(texts.get("temperature"), 2),
            "vdd": _number(texts.get("VDD"), 2),
            "vad": _number(texts.get("VAD"), 2),
            "vis": _number(texts.get("vis"), 5),
        }
        if all(value is None for value in fields.values()):
            raise ValueError("none of its values can be read")
        return {**fields, "humidity": _humidity(texts.get("humidity"))}


class SwitchState(SensorState, frozen=True, kw_only=True):
    """``value`` has the sensed levels, ``pio`` the outputs: 1 is a transistor that conducts, and the level 0."""

    value: Annotated[tuple[int, ...] | None, means("The level at each pin, 1 or 0")] = None
    pio: Annotated[
        tuple[int, ...] | None,
        means(
            "Each output, 1 while its transistor conducts; in a set, the number of the one that value is for",
            writable=True,
        ),
    ] = None


class Switch(Sensor):
    """Some pins, each an input and, with a transistor to ground, an output.

    :cvar names: of the pins, in owserver's terms.
    """

    properties = ("sensed.ALL", "PIO.ALL")
    names: ClassVar[str]
    shows = SwitchState
    fields = "circuit address value pio lost time interval type"

    def _settable(self) -> Mapping[str, Parameter]:
        return {"pio": Whole(0, len(self.names) - 1).marked(selects=True), "value": Bit()}

    def checked(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        wanted = super().checked(parameters)
        if ("pio" in wanted) != ("value" in wanted):
            raise BadParameter(f"{self!r}: an output is set by pio, its number from 0, and value together")
        return wanted

    def writes(self, wanted: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        return ((f"PIO.{self.names[wanted['pio']]}", str(wanted["value"])),) if "pio" in wanted else ()

    def _decoded(self, texts: Mapping[str, str]) -> dict[str, Any]:
        fields = {"value": self._bits(texts.get("sensed.ALL")), "pio": self._bits(texts.get("PIO.ALL"))}
        if fields["value"] is None:
            raise ValueError("its inputs cannot be read")
        return fields

    def _bits(self, text: str | None) -> tuple[int, ...] | None:
        bits = text.split(",") if text is not None else []
        if len(bits) != len(self.names) or not all(bit in ("0", "1") for bit in bits):
            return None
        return tuple(int(bit) for bit in bits)


class EightPins(Switch):
    """A DS2408, with eight pins."""

    names = "01234567"


class TwoPins(Switch):
    """A DS2406 or DS2413, with two pins."""

    names = "AB"


class TagState(SensorState, frozen=True, kw_only=True):
    """``value`` is 1 while it is there, and 0 while not."""

    value: Annotated[int | None, means("1 while it is there", low=0, high=1)] = None


class Tag(Sensor):
    """A number and nothing else (DS2401, iButtons): being away is what it tells, so it is asked as often then."""

    patient = False
    shows = TagState
    fields = "circuit address value lost time interval type"

    def _decoded(self, texts: Mapping[str, str]) -> dict[str, Any]:
        return {"value": 1}

    def miss(self) -> bool:
        return self._show(lost=True, value=0)


#: By what owserver calls them.
TYPES: Mapping[str, type[Sensor]] = {
    "DS18B20": Thermometer,
    "DS18S20": Thermometer,
    "DS1822": Thermometer,
    "DS28EA00": Thermometer,
    "DS2438": BatteryMonitor,
    "DS2408": EightPins,
    "DS2406": TwoPins,
    "DS2413": TwoPins,
    "DS2401": Tag,
    "DS1420": Tag,
}

#: The type of a family, where nobody has told.
FAMILIES: Mapping[str, str] = {
    "28": "DS18B20",
    "10": "DS18S20",
    "22": "DS1822",
    "42": "DS28EA00",
    "26": "DS2438",
    "29": "DS2408",
    "12": "DS2406",
    "3A": "DS2413",
    "01": "DS2401",
    "81": "DS1420",
}


def sensor(address: str, type: str | None, group: str, interval: float) -> Sensor:
    """A sensor of any type.

    :param address: in the form that ``onewire.address`` gives.
    :param type: None where only the address tells.
    """
    family = family_of(address)
    type = type or FAMILIES.get(family, family)
    return TYPES.get(type, Sensor)(address, type, group, interval)


def _number(text: str | None, digits: int) -> float | None:
    """``text`` as a number, to what its sensor can tell apart; None where it is none."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return round(value, digits) if math.isfinite(value) else None


def _humidity(text: str | None) -> float | None:
    """A humidity in percent; None where it is far from one, as of a DS2438 with something else on its pins."""
    value = _number(text, 1)
    return None if value is None or not DRIEST <= value <= WETTEST else min(max(value, 0.0), 100.0)
