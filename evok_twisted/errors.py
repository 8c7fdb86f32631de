"""Every error that a client or an operator can meet: one tree, each with its code on each of the fronts.

``code`` goes into WebSocket replies, ``name`` and ``status`` into HTTP answers, ``rpc`` is the JSON-RPC error code.
"""

from __future__ import annotations

from typing import ClassVar


class EvokError(Exception):
    """Anything that went wrong and has a name; ``str()`` of it is a sentence for people."""

    #: whether what was asked for may have been done, all or some of it: False is certain, True is not
    sent = False
    #: which of several things that were asked for at once it is about, counted from 0
    index = 0

    name: ClassVar[str] = "EvokError"
    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    rpc: ClassVar[int] = -32000

    @property
    def message(self) -> str:
        """The sentence for clients, with what became of a command."""
        if self.sent:
            return f"{self}; it was sent, and may have been done"
        return f"{self}; nothing was sent" if self.may_be_sent else str(self)

    #: whether it may or may not have been sent: every answer says which
    may_be_sent: ClassVar[bool] = False


class ConfigError(EvokError):
    """A file cannot be used.

    :ivar line: where in it, if that is known; the message says it, too.
    """

    line: int | None = None

    name = "ConfigError"
    code = "config"
    status = 422


# What the client did wrong: nothing has reached the hardware.


class BadRequest(EvokError):
    """A message that is not of the form that the interface takes."""

    name = "BadRequest"
    code = "bad_request"
    status = 400
    rpc = -32600


class Unauthorized(EvokError):
    """Nobody who may see anything: a token is missing, or is of no use."""

    name = "Unauthorized"
    code = "unauthorized"
    status = 401


class TooManyFailures(EvokError):
    """Too many wrong tokens from one address; what came now was not looked at."""

    name = "TooManyFailures"
    code = "too_many_failures"
    status = 429


class Forbidden(EvokError):
    """Something that whoever asks may not do, or a web page that may not talk to the service; nothing was written."""

    name = "Forbidden"
    code = "forbidden"
    status = 403


class TooLarge(EvokError):
    """A message that is larger than it may be."""

    name = "TooLarge"
    code = "too_large"
    status = 413


class RefusedRetained(EvokError):
    """A command that a broker had kept: nobody knows whether it is still meant, and it is not carried out."""

    name = "RefusedRetained"
    code = "refused_retained"
    status = 409


class UnknownCommand(BadRequest):
    """A ``cmd`` that is not in the table of commands."""

    name = "UnknownCommand"
    code = "unknown_command"
    rpc = -32601


class NotFound(EvokError):
    """A path at which there is nothing."""

    name = "NotFound"
    code = "not_found"
    status = 404


class UnknownMethod(EvokError):
    """A method that is not in the table of JSON-RPC methods."""

    name = "UnknownMethod"
    code = "unknown_method"
    status = 404
    rpc = -32601


class UnknownDevice(EvokError):
    """A name of a kind of device that we do not know."""

    name = "UnknownDevice"
    code = "unknown_device"
    status = 404
    rpc = -32602


class UnknownCircuit(EvokError):
    """A circuit or alias that no device of that kind has."""

    name = "UnknownCircuit"
    code = "unknown_circuit"
    status = 404
    rpc = -32602


class UnknownProperty(EvokError):
    """A property that the state of a circuit does not show."""

    name = "UnknownProperty"
    code = "unknown_property"
    status = 404
    rpc = -32602


class BadParameter(EvokError):
    """A parameter that this kind of device does not take, or a missing one."""

    name = "BadParameter"
    code = "bad_parameter"
    status = 400
    rpc = -32602


class BadValue(EvokError):
    """A parameter's value that is of the wrong type or out of range."""

    name = "BadValue"
    code = "bad_value"
    status = 400
    rpc = -32602


class Conflict(EvokError):
    """Parameters that contradict each other, or an alias that is taken."""

    name = "Conflict"
    code = "conflict"
    status = 409
    rpc = -32602


# What happened on the way to the hardware.


class Busy(EvokError):
    """Too many commands wait for this slave already; this one was not taken."""

    name = "Busy"
    code = "busy"
    status = 503


class Superseded(EvokError):
    """A newer command for the same output replaced this one while it waited; it was not sent."""

    name = "Superseded"
    code = "superseded"
    status = 409


class Offline(EvokError):
    """The bus or the slave does not answer now; nothing was sent, or the connection broke before the answer."""

    name = "Offline"
    code = "offline"
    status = 502
    may_be_sent = True


class Timeout(EvokError):
    """The device did not acknowledge in time, or the command could not be sent by its deadline (then it never is)."""

    name = "Timeout"
    code = "timeout"
    status = 504
    may_be_sent = True


class Refused(EvokError):
    """The device answered with a Modbus exception, or owserver with an error.

    :ivar exception: the Modbus exception code, 1 (illegal function), 2 (illegal data address), ...; or owserver's.
    """

    name = "Refused"
    code = "refused"
    status = 502

    def __init__(self, message: str, exception: int) -> None:
        super().__init__(message)
        self.exception = exception


class BadAnswer(EvokError):
    """The device's answer does not fit the request."""

    name = "BadAnswer"
    code = "bad_answer"
    status = 502


# What happened in the service itself.


class NotSaved(EvokError):
    """What was to be kept over a restart could not be written to its file."""

    name = "NotSaved"
    code = "not_saved"


class Unavailable(EvokError):
    """What a command needs of the service itself is not there; nothing was done."""

    name = "Unavailable"
    code = "unavailable"
    status = 503


#: What may become of a command.
COMMAND_ERRORS: tuple[type[EvokError], ...] = (
    BadRequest,
    Forbidden,
    UnknownDevice,
    UnknownCircuit,
    BadParameter,
    BadValue,
    Conflict,
    Busy,
    Superseded,
    Offline,
    Timeout,
    Refused,
    BadAnswer,
    NotSaved,
    Unavailable,
)
