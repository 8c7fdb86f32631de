"""``apis.mqtt``: the settings, and how its broker is reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from cryptography import x509
from msgspec import Meta
from OpenSSL import crypto
from twisted.internet.endpoints import UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)

from evok_twisted.config import FrontSettings
from evok_twisted.errors import ConfigError
from evok_twisted.hosts import HostEndpoint, unit_name
from evok_twisted.settingtypes import Unit
from evok_twisted.typedyaml import Settings

#: Seconds for the connection to each address of a broker.
CONNECT_TIMEOUT = 10.0
#: Where brokers listen, where nothing else is said.
PORTS = {"tcp": 1883, "tls": 8883}

_ADDRESS = r"(tcp|tls):(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]{1,253})(:[0-9]{1,5})?"
BROKER = rf"^({_ADDRESS}|unix:/\S+)$"
BROKER_FORMS = "tcp:HOST, tcp:HOST:PORT, tls:HOST, tls:HOST:PORT or unix:/PATH"
Broker = Annotated[str, Meta(pattern=BROKER, description=BROKER_FORMS)]
Level = r"[^+#/\s\x00-\x1f\x7f$][^+#/\x00-\x1f\x7f]*"
Topic = Annotated[
    str,
    Meta(
        pattern=rf"^{Level}(/{Level})*$",
        description="a topic without + and #, which begins with no $ and ends with no /",
    ),
]
Throttle = Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")]
Repetition = Annotated[float, Meta(ge=0, le=86400, description="a number of seconds, at most 86400; 0 is never")]


class HomeAssistantSettings(Settings, frozen=True, kw_only=True):
    """``apis.mqtt.home_assistant``.

    :ivar lights: outputs that are to be lights, as filters have them, such as ``do/1_02``; ``fans`` fans.
    :ivar events: inputs whose presses are to be events from the start.
    """

    enabled: bool = True
    prefix: Topic = "homeassistant"
    lights: tuple[str, ...] = ()
    fans: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    area: str = ""


class MqttSettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.mqtt``.

    :ivar every: seconds between two messages of one measured value, at least.
    :ivar repeat: seconds after which what has not changed is told again; 0 is never.
    :ivar max_rate: commands a second that are carried out; more are answered with ``busy``.
    """

    broker: Broker = "tcp:127.0.0.1:1883"
    authorities: str = ""
    certificate: str = ""
    key: str = ""
    username: str = ""
    password_file: str = ""
    version: Literal["5", "3.1.1"] = "5"
    client_id: Annotated[str, Meta(max_length=256, description="a text of at most 256 characters")] = ""
    unit: Unit = ""
    base: Topic = "evok"
    keepalive: Annotated[int, Meta(ge=1, le=3600, description="a whole number of seconds from 1 to 3600")] = 30
    dialect: Literal["classic", "v3"] = "v3"
    devices: tuple[str, ...] = ("all",)
    values: Literal["json", "plain", "both"] = "json"
    every: Throttle = 1.0
    repeat: Repetition = 0.0
    qos: Annotated[int, Meta(ge=0, le=1, description="0 or 1")] = 1
    commands: bool = True
    max_rate: Annotated[int, Meta(ge=1, le=10000, description="a whole number from 1 to 10000")] = 50
    role: Literal["viewer", "operator", "admin"] = "operator"
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()

    @property
    def name(self) -> str:
        """What the unit is called on the broker."""
        return self.unit or unit_name()

    @property
    def client(self) -> str:
        """What the broker knows our connections by: always the same, so that a new one takes the place of the old."""
        return self.client_id or f"evok-{self.name}"


class Files(NamedTuple):
    """What is in the files that the settings name: read at each connection, so that they can be renewed."""

    password: str
    #: None is those of the system
    authorities: Any
    certificate: PrivateCertificate | None


def read_files(settings: MqttSettings) -> Files:
    """Read what a connection needs.

    :raises ConfigError: a file is of no use; the message says which and why.
    """
    password = ""
    if settings.password_file:
        password = _read(Path(settings.password_file)).decode(errors="replace").strip("\r\n")
    authorities = _authorities(Path(settings.authorities)) if settings.authorities else None
    if bool(settings.certificate) != bool(settings.key):
        raise ConfigError("certificate and key go together, and only one of them is there")
    certificate = None
    if settings.certificate:
        both = _read(Path(settings.key)) + b"\n" + _read(Path(settings.certificate))
        try:
            certificate = PrivateCertificate.loadPEM(both)
        except (crypto.Error, ValueError) as error:
            message = f"{settings.certificate} and {settings.key} are no certificate and its key in PEM format"
            raise ConfigError(message) from error
    return Files(password, authorities, certificate)


def _authorities(place: Path) -> Any:
    files = sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else [place]
    found = []
    for file in files:
        text = _read(file)
        if b"-----BEGIN CERTIFICATE-----" in text:
            try:
                found += x509.load_pem_x509_certificates(text)
            except ValueError as error:
                raise ConfigError(f"{file}: a certificate in it cannot be read") from error
    if not found:
        raise ConfigError(f"{place} has no certificate in PEM format")
    return trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(one)) for one in found])


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


def endpoint(settings: MqttSettings, files: Files, reactor: Any) -> IStreamClientEndpoint:
    """How the broker is reached; with ``tls:`` it is verified, its name or address included."""
    if settings.broker.startswith("unix:"):
        return UNIXClientEndpoint(reactor, settings.broker.removeprefix("unix:"), CONNECT_TIMEOUT)
    found = re.match(_ADDRESS, settings.broker)
    if found is None:  # the settings' own pattern has it
        raise ConfigError(f"got {settings.broker!r}, expected {BROKER_FORMS}")
    kind, host = found[1], found[2].strip("[]")
    port = int(found[3][1:]) if found[3] else PORTS[kind]
    plain = HostEndpoint(reactor, host, port, CONNECT_TIMEOUT)
    if kind == "tcp":
        return plain
    options = optionsForClientTLS(
        host,
        trustRoot=platformTrust() if files.authorities is None else files.authorities,
        clientCertificate=files.certificate,
        extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
    )
    return wrapClientTLS(options, plain)
