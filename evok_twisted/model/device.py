"""What every device is: a circuit with a state that comes from registers and a plan that goes to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from evok_twisted.definitions import Feature
from evok_twisted.errors import BadParameter
from evok_twisted.model.parameters import Parameter, Real, parse
from evok_twisted.model.registers import Registers, Write


class State(msgspec.Struct, frozen=True):
    """What a device shows, field by field as on the wire; a field that is ``UNSET`` is left out there."""


class Pulse(msgspec.Struct, frozen=True):
    """What an output does on its own later: ``seconds`` at ``during``, and then back to ``value``."""

    seconds: float
    value: float
    during: float


class Plan(msgspec.Struct, frozen=True):
    """What a ``set`` comes down to.

    :ivar writes: in this order, each after the acknowledgement of the one before.
    :ivar local: what we keep and the board does not, to go into ``Device.local`` when the writes are acknowledged.
    :ivar pulse: what follows later.
    """

    writes: tuple[Write, ...] = ()
    local: Mapping[str, Any] = {}
    pulse: Pulse | None = None


class Device:
    """One circuit.

    :cvar kind: its kind, a key of ``kinds.KINDS``.
    :cvar shows: the class of its states.
    :cvar fields: what it shows on the wire after ``dev`` and before ``alias``, in this order; ``v3_fields`` in v3,
        where that is not the same without what only classic has.
    :ivar circuit: its name on the wire, unique within its kind.
    :ivar group: the name of the configured device it belongs to.
    :ivar number: ``glob_dev_id`` of that device; None where the wire has none.
    :ivar parameters: what a ``set`` may carry.
    :ivar deadband: by how much its value has to move, in its unit, for a scan to tell of it; 0 is by anything.
    :ivar state: what it shows. Some compute it when they are asked.
    :ivar fragments: the last rendering by dialect, each with the state that it is of; whoever renders keeps them here.

    :param blank: what it shows before anything is known; None of one that computes its state.
    """

    kind: ClassVar[str]
    shows: ClassVar[type[State]]
    fields: ClassVar[str]
    v3_fields: ClassVar[str] = ""

    deadband: float = 0.0

    state: State

    def __init__(
        self,
        circuit: str,
        group: str,
        number: int | None,
        blank: State | None,
        *,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        self.circuit = circuit
        self.group = group
        self.number = number
        self.parameters = parameters or {}
        self.fragments: dict[str, tuple[State, bytes]] = {}
        self._alias = ""
        if blank is not None:
            self.state = blank

    def __repr__(self) -> str:
        return f"{self.kind} {self.circuit}"

    @property
    def alias(self) -> str:
        """The name that a user gave to it, or ``""``."""
        return self._alias

    @alias.setter
    def alias(self, alias: str) -> None:
        self._alias = alias
        self.fragments.clear()

    def circuit_in(self, dialect: str) -> str:
        """Its circuit on the wire; only a few kinds have another one in one of the dialects."""
        return self.circuit

    def checked(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a client asked for, checked and typed, as far as that can be said without the registers.

        :param parameters: names and values as a client sent them.
        :raises BadParameter: a parameter that this device does not take, or one without another that it needs.
        :raises BadValue: a value that does not fit.
        """
        return parse(self.parameters, parameters)


class BoardDevice(Device):
    """A circuit of a board: its state comes from registers, and a set of it goes there.

    :cvar features: what of a definition it is made of.
    :ivar needs: the keys that ``decode`` reads; it is called when all of them are known.
    :ivar watches: the keys on whose change it is called; ``needs`` and such as have a default.
    :cvar pulsed: whether it can go back by itself.
    :ivar local: what we keep of it ourselves: ``back`` while a pulse runs, to what it goes back.
    """

    pulsed: ClassVar[bool] = False
    features: ClassVar[tuple[type[Feature], ...]]

    def __init__(
        self,
        circuit: str,
        group: str,
        number: int | None,
        blank: State,
        *,
        needs: frozenset[int] = frozenset(),
        watches: frozenset[int] = frozenset(),
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        super().__init__(circuit, group, number, blank, parameters=parameters)
        self.needs = needs
        self.watches = needs | watches
        self.local: dict[str, Any] = {}

    def decode(self, registers: Registers) -> State:
        """The state that the registers (all of ``needs`` are known) and ``local`` show. Never raises."""
        return self.state

    def refresh(self, registers: Registers) -> bool:
        """Decode again; whether the state changed."""
        if not all(key in registers for key in self.needs):
            return False
        state = self.decode(registers)
        if state == self.state:
            return False
        self.state = state
        return True

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        """Turn what a client asked for into writes; every check that is left is made here, before the first write.

        :param wanted: what ``checked`` returned.
        :raises BadParameter: a parameter that goes with another, which is not there.
        :raises Conflict: parameters that contradict each other or the device's mode.
        :raises KeyError: a register that the plan depends on was not read yet.
        """
        return Plan()


#: Longest pulse, in seconds: what a reactor's timer can hold with room to spare.
LONGEST_PULSE = 2_000_000

#: When an output goes back by itself; what it goes back to is ``then``, of the kind of its value.
TIMEOUT = Real(0, LONGEST_PULSE, "seconds", above=True).marked(qualifies=True)


def pulse_of(device: BoardDevice, wanted: Mapping[str, Any], during: float, otherwise: float) -> Pulse | None:
    """The pulse that a set asks for, if it does.

    :param during: what the output is set to.
    :param otherwise: what it goes back to, where the set does not say.
    :raises BadParameter: it says how, and not what.
    """
    for name, goes_with in (("timeout", "value"), ("then", "timeout")):
        if name in wanted and goes_with not in wanted:
            raise BadParameter(f"{device}: {name} goes with {goes_with}, and there is no {goes_with}")
    if "timeout" not in wanted:
        return None
    return Pulse(wanted["timeout"], wanted.get("then", otherwise), during)


def numbered(name: str, n: int) -> str:
    """The circuit ``n`` (from 1) of a configured device."""
    return f"{name}_{n:02d}"
