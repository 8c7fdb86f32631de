"""The names that users gave to circuits, those of circuits that are not there (yet) included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from evok_twisted.conditions import Signal, Subscription
from evok_twisted.errors import BadValue, Conflict
from evok_twisted.logs import Logger
from evok_twisted.model import aliases
from evok_twisted.model.aliases import Target
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import DIALECTS, KINDS


class AliasBook:
    """Each alias stands for one device, and is no circuit.

    :param is_circuit: whether some device has a circuit of this name.
    """

    _log = Logger()

    def __init__(self, is_circuit: Callable[[str], bool]) -> None:
        self._is_circuit = is_circuit
        self._by_alias: dict[str, Device] = {}
        #: aliases of devices that are not there (yet)
        self._kept: dict[str, Target] = {}
        self._changed: Signal[[]] = Signal(self._log)

    def find(self, circuit: str) -> Device | None:
        """The device that has an alias, with or without ``al_``."""
        return self._by_alias.get(aliases.bare(circuit))

    def all(self) -> dict[str, Target]:
        """What each alias stands for, those of devices that are not there included."""
        held = {device.alias: Target((device.kind,), device.circuit) for device in self._by_alias.values()}
        return {**held, **self._kept}

    def watch(self, watcher: Callable[[], object]) -> Subscription:
        """Call ``watcher`` whenever an alias was given or taken away."""
        return self._changed.watch(watcher)

    def rename(self, device: Device, alias: object) -> bool:
        """Give ``device`` an alias, or take it away with ``""``; whether that changed anything.

        :raises BadValue: it is no alias.
        :raises Conflict: another device has it, or it is a circuit; the old one stays.
        """
        alias = aliases.checked(alias)
        if alias == device.alias:
            return False
        if alias:
            holder = self.find(alias)
            if holder not in (None, device):
                raise Conflict(f"the alias {alias!r} is taken by {holder!r}")
            if self._is_circuit(alias) or self._is_circuit(aliases.bare(alias)):
                raise Conflict(f"{alias!r} is the name of a circuit and cannot be an alias")
        if device.alias:
            del self._by_alias[aliases.bare(device.alias)]
        if alias:
            self._by_alias[aliases.bare(alias)] = device
            for kept in self.kept(alias):  # of a device that is not there, it can be given to another
                del self._kept[kept]
        device.alias = alias
        self._changed.emit()
        return True

    def restore(self, alias: str, target: Target, devices: Iterable[Device]) -> None:
        """Give an alias of an earlier run: now, or, where its device is not there, when it comes.

        :param devices: those that are there.
        :raises BadValue: it is no alias.
        :raises Conflict: it is taken, or its device has one already.
        """
        if not aliases.checked(alias):
            raise BadValue("alias: got nothing, expected the name that it is")
        for device in devices:
            if _is_target(device, target):
                if device.alias:
                    raise Conflict(f"{device!r} has an alias already, {device.alias!r}")
                self.rename(device, alias)
                return
        if aliases.bare(alias) in map(aliases.bare, self.all()):
            raise Conflict(f"the alias {alias!r} stands twice")
        self._kept[alias] = target

    def kept(self, alias: object) -> dict[str, Target]:
        """What is kept under ``alias`` for a device that is not there."""
        same = aliases.bare(str(alias))
        return {kept: target for kept, target in self._kept.items() if aliases.bare(kept) == same}

    def came(self, device: Device) -> None:
        """``device`` is there now: it is given the alias that was kept for it."""
        for alias, target in tuple(self._kept.items()):
            if _is_target(device, target) and not device.alias:
                with suppress(Conflict):  # a circuit has come to be called so; then the alias waits on
                    self.rename(device, alias)

    def went(self, device: Device) -> None:
        """``device`` is not there any more: its alias waits for another of its kind and circuit."""
        if device.alias:
            del self._by_alias[aliases.bare(device.alias)]
            self._kept[device.alias] = Target((device.kind,), device.circuit)


def _is_target(device: Device, target: Target) -> bool:
    """Whether ``target`` is this device; some write the kind before the circuit, as ``do_1_01``."""
    circuits = (device.circuit_in(dialect) for dialect in DIALECTS)
    prefixes = ("", *(f"{KINDS[device.kind].dev(dialect)}_" for dialect in DIALECTS))
    return device.kind in target.kinds and any(target.circuit == p + c for c in circuits for p in prefixes)
