"""The kinds of devices, and every name that clients have for them.

Two dialects of the protocol are in the field; they differ in names. What a name means is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from evok_twisted.errors import UnknownDevice
from evok_twisted.model.parameters import shown
from evok_twisted.problems import nearest

Dialect = Literal["classic", "v3"]
DIALECTS: tuple[Dialect, ...] = ("classic", "v3")


class Kind(NamedTuple):
    """One kind of device.

    :ivar name: ``dev`` in v3, and our own name for it everywhere.
    :ivar classic: ``dev`` in classic.
    :ivar on_request: its changes go only to clients that filter for it by name.
    :ivar listed: it is in the list of all circuits.
    """

    name: str
    classic: str
    on_request: bool = False
    listed: bool = True

    def dev(self, dialect: Dialect) -> str:
        """What ``dev`` is on the wire."""
        return self.classic if dialect == "classic" else self.name


#: In the order in which ``all`` lists them.
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("di", "input"),
        Kind("ro", "relay"),
        Kind("do", "relay"),
        Kind("ai", "ai"),
        Kind("ao", "ao"),
        Kind("temp", "temp"),
        Kind("1wdevice", "1wdevice"),
        Kind("led", "led"),
        Kind("wd", "wd"),
        Kind("modbus_slave", "modbus_slave"),
        Kind("owpower", "owpower"),
        # in an unfiltered stream they would double every message
        Kind("register", "register", on_request=True),
        Kind("data_point", "unit_register"),
        Kind("nv_save", "nv_save"),
        Kind("owbus", "owbus"),
        Kind("device_info", "device_info"),
        # the service itself
        Kind("run", "run", on_request=True, listed=False),
    )
}

_NAMES: Mapping[str, tuple[str, ...]] = {
    "di": ("di",),
    "input": ("di",),
    "digitalinput": ("di",),
    "do": ("do",),
    "digitaloutput": ("do",),
    "ro": ("ro",),
    "ai": ("ai",),
    "analoginput": ("ai",),
    "ao": ("ao",),
    "analogoutput": ("ao",),
    "led": ("led",),
    "wd": ("wd",),
    "watchdog": ("wd",),
    "register": ("register",),
    "data_point": ("data_point",),
    "unit_register": ("data_point",),
    "owpower": ("owpower",),
    "nv_save": ("nv_save",),
    "nvsave": ("nv_save",),
    "modbus_slave": ("modbus_slave",),
    "neuron": ("modbus_slave",),
    "device_info": ("device_info",),
    "owbus": ("owbus",),
    "temp": ("temp", "1wdevice"),
    "1wdevice": ("1wdevice", "temp"),
    "sensor": ("temp", "1wdevice"),
    "run": ("run",),
}

# The only names that mean something else in each dialect.
_OUTPUTS: Mapping[Dialect, Mapping[str, tuple[str, ...]]] = {
    "classic": {"relay": ("do", "ro"), "output": ("do", "ro")},
    "v3": {"relay": ("ro",), "output": ("do",)},
}


def names() -> list[str]:
    """Every name that a client may use for a kind."""
    return sorted({*_NAMES, *(name for outputs in _OUTPUTS.values() for name in outputs)})


def named(name: object, dialect: Dialect) -> tuple[str, ...]:
    """The kinds that a client means by ``name``, the one to look in first at the front.

    :raises UnknownDevice: we do not know the name.
    """
    kinds = (_OUTPUTS[dialect].get(name) or _NAMES.get(name)) if isinstance(name, str) else None
    if kinds is None:
        hint = nearest(name, [*_NAMES, *_OUTPUTS[dialect]]) if isinstance(name, str) else "expected text"
        raise UnknownDevice(f"there is no kind of device {shown(name)}; {hint}")
    return kinds
