"""Why there is no connection to a broker, in words for people."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

#: Reason codes: the version is not spoken, the user is not known, not allowed to do this, and taken over.
UNSUPPORTED_VERSION, BAD_USER, NOT_AUTHORIZED, TAKEN_OVER = 0x84, 0x86, 0x87, 0x8E


class BrokerError(Exception):
    """A broker does not want us, or what it says cannot be understood.

    :ivar code: its reason, of MQTT 5; 0 where it gave none.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def in_words(reason: Failure) -> str:
    """Why a connection has ended, or was not made."""
    if reason.check(ConnectionDone):
        return "the broker closed the connection"
    if reason.check(VerificationError, CertificateError):
        return "its certificate is not for the name or address that it is reached by"
    if reason.check(SSL.Error):
        found: Any = reason.value.args[0] if reason.value is not None and reason.value.args else ()
        words = "; ".join(one[-1] for one in found if one)
        trust = ", so it is not by an authority that is trusted here" if "verify failed" in words else ""
        return f"TLS: {words or 'the connection was closed'}{trust}"
    if reason.check(TimeoutError, CancelledError):
        return "it is slow, there was no answer in time"
    return (reason.getErrorMessage() or str(reason.type)).rstrip(".")
