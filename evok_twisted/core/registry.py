"""Every device of the service, by kind, circuit and alias."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from evok_twisted.core.aliasbook import AliasBook
from evok_twisted.errors import BadValue, UnknownCircuit, UnknownDevice
from evok_twisted.model.aliases import Target
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import DIALECTS, KINDS, Dialect, named
from evok_twisted.model.parameters import shown


class Circuits:
    """The devices of one dialect, by kind and circuit.

    :ivar first: what is found: of several, that which is listed first.
    """

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], Device] = {}
        #: all of them, where there are several
        self._all: dict[tuple[str, str], list[Device]] = {}

    def add(self, key: tuple[str, str], device: Device) -> None:
        """``device`` is listed last."""
        first = self.first.setdefault(key, device)
        if first is not device:
            self._all.setdefault(key, [first]).append(device)

    def remove(self, key: tuple[str, str], device: Device) -> None:
        """``device`` is no more."""
        if key not in self._all:
            del self.first[key]
            return
        devices = self._all[key]
        devices.remove(device)
        self.first[key] = devices[0]
        if len(devices) == 1:
            del self._all[key]

    def arrange(self, place: Callable[[Device], int]) -> None:
        """List them in another order."""
        for key, devices in self._all.items():
            devices.sort(key=place)
            self.first[key] = devices[0]


class Registry:
    """The one place where a name that a client sends becomes a device."""

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._by_kind: dict[str, list[Device]] = {kind: [] for kind in KINDS}
        self._by_circuit = {dialect: Circuits() for dialect in DIALECTS}
        #: how many have a circuit of this name
        self._circuits: Counter[str] = Counter()
        self._by_group: dict[tuple[str, str], list[Device]] = {}
        #: of groups, their numbers, and how many devices there have one
        self._numbers: dict[str, int] = {}
        self._numbered: Counter[str] = Counter()
        #: their aliases
        self.book = AliasBook(lambda name: name in self._circuits)
        #: changes whenever devices come or go
        self.version = 0
        for device in devices:
            self.add(device)

    def add(self, device: Device) -> None:
        """Make ``device`` known. Of two with one circuit in a kind, the first is found; both are listed."""
        self.version += 1
        self._by_kind[device.kind].append(device)
        self._by_group.setdefault((device.kind, device.group), []).append(device)
        if device.number is not None:
            self._numbers[device.group] = device.number
            self._numbered[device.group] += 1
        for dialect, index in self._by_circuit.items():
            circuit = device.circuit_in(dialect)
            self._circuits[circuit] += 1
            index.add((device.kind, circuit), device)
        self.book.came(device)

    def remove(self, device: Device) -> None:
        """Let ``device`` be known no more. Its alias waits for another of its kind and circuit to come."""
        self.version += 1
        self._by_kind[device.kind].remove(device)
        members = self._by_group[device.kind, device.group]
        members.remove(device)
        if not members:
            del self._by_group[device.kind, device.group]
        if device.number is not None and _took_last(self._numbered, device.group):
            del self._numbers[device.group]
        for dialect, index in self._by_circuit.items():
            circuit = device.circuit_in(dialect)
            _took_last(self._circuits, circuit)
            index.remove((device.kind, circuit), device)
        self.book.went(device)

    def arrange(self, groups: Sequence[str]) -> None:
        """List the devices in the order of ``groups``; those of others come after them, as they are."""
        self.version += 1
        places = {group: n for n, group in enumerate(groups)}

        def place(device: Device) -> int:
            return places.get(device.group, len(places))

        for devices in self._by_kind.values():
            devices.sort(key=place)
        for index in self._by_circuit.values():
            index.arrange(place)
        self._numbers = dict(sorted(self._numbers.items(), key=lambda item: places.get(item[0], len(places))))

    def __iter__(self) -> Iterator[Device]:
        """Every device, in the order of ``all``."""
        for kind, devices in self._by_kind.items():
            if KINDS[kind].listed:
                yield from devices

    def of_kind(self, kind: str) -> tuple[Device, ...]:
        """The devices of one kind, in the order of the configuration."""
        return tuple(self._by_kind[kind])

    def find(self, name: object, circuit: object, dialect: Dialect) -> Device:
        """The device that a client means.

        :param name: any name of its kind, in either dialect.
        :param circuit: its circuit (text, or a whole number) or its alias, with or without ``al_``.
        :raises UnknownDevice: there is no such kind.
        :raises BadValue: ``circuit`` is neither text nor a number.
        :raises UnknownCircuit: no device of that kind has this circuit or alias.
        """
        kinds = named(name, dialect)
        device = self._lookup(kinds, circuit, dialect)
        if device is None:
            raise UnknownCircuit(f"{name} has no circuit or alias {shown(circuit)}{self._hint(kinds, dialect)}")
        return device

    def _lookup(self, kinds: tuple[str, ...], circuit: object, dialect: Dialect) -> Device | None:
        return next(iter(self._all_called(kinds, circuit, dialect)), None)

    def _all_called(self, kinds: tuple[str, ...], circuit: object, dialect: Dialect) -> list[Device]:
        """The devices of any of ``kinds`` that have a circuit, or the one that has an alias."""
        if isinstance(circuit, int) and not isinstance(circuit, bool):
            circuit = str(circuit)
        if not isinstance(circuit, str):
            raise BadValue(f"circuit: got {shown(circuit)}, expected the name of a circuit, as text")
        index = self._by_circuit[dialect]
        found = [index.first[kind, circuit] for kind in kinds if (kind, circuit) in index.first]
        if not found:
            device = self.book.find(circuit)
            return [device] if device is not None and device.kind in kinds else []
        return found

    def select(
        self,
        names: Sequence[object],
        dialect: Dialect,
        *,
        circuits: Sequence[object] | None = None,
        group: object = None,
        number: object = None,
    ) -> list[Device]:
        """The devices that a client means by several conditions, each of which narrows; None is no condition.

        What is named twice is meant once.

        :param names: of kinds, in either dialect.
        :param circuits: circuits or aliases; each may be one of every kind.
        :param group: the name of the configured device that they belong to.
        :param number: its ``glob_dev_id``.
        :raises UnknownDevice: there is no such kind, or no such configured device.
        :raises UnknownCircuit: no device of these kinds has one of the circuits.
        """
        kinds = tuple(dict.fromkeys(kind for name in dict.fromkeys(names) for kind in named(name, dialect)))
        groups = None if group is None and number is None else self._groups_of(group, number)
        if circuits is None and groups is None:
            return [device for kind in kinds for device in self._by_kind[kind]]
        if circuits is None:
            return [
                device for kind in kinds for each in groups or () for device in self._by_group.get((kind, each), ())
            ]
        devices: dict[Device, None] = {}
        for circuit in dict.fromkeys(circuits):
            found = self._all_called(kinds, circuit, dialect)
            if not found:
                wanted = " and ".join(dict.fromkeys(map(str, names)))
                raise UnknownCircuit(f"{wanted} has no circuit or alias {shown(circuit)}{self._hint(kinds, dialect)}")
            devices.update(dict.fromkeys(found))
        return [device for device in devices if groups is None or device.group in groups]

    def _groups_of(self, name: object, number: object) -> list[str]:
        """The groups that have this name and this number."""
        found = list(self._numbers)
        if name is not None:
            _expect("group", name, self._numbers)
            found = [str(name)]
        if number is not None:
            _expect("global_device_id", number, self._numbers.values())
            found = [group for group in found if str(self._numbers[group]) == str(number)]
        return found

    def _hint(self, kinds: tuple[str, ...], dialect: Dialect) -> str:
        devices = (device for kind in kinds for device in self._by_kind[kind])
        circuits = [device.circuit_in(dialect) for device in islice(devices, 9)]
        if not circuits:
            return "; there are no circuits of that kind"
        return "; there are " + ", ".join(circuits[:8]) + (", ..." if len(circuits) > 8 else "")

    def restore(self, alias: str, target: Target) -> None:
        """Give an alias of an earlier run; as ``AliasBook.restore``."""
        self.book.restore(alias, target, (device for kind in target.kinds for device in self._by_kind.get(kind, ())))


def _took_last(counts: Counter[str], name: str) -> bool:
    """Whether ``name`` counts no more, when one has been taken away."""
    counts[name] -= 1
    if counts[name]:
        return False
    del counts[name]
    return True


def _expect(what: str, given: object, known: Iterable[object]) -> None:
    if str(given) not in map(str, known):
        there = ", ".join(map(str, known)) or "none"
        raise UnknownDevice(f"{what}: there is no configured device {shown(given)}; there are {there}")
