"""A PostgreSQL server that takes what changed: how it is named, its tables, and a connection. All of it blocks."""

from __future__ import annotations

import csv
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from evok_twisted.errors import ConfigError
from evok_twisted.history.queue import Piece, Place, Row, gently

PORT = 5432
#: Seconds for the connection, and for each answer.
TIMEOUT = 10.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPTIONS = ("host", "sslmode", "sslrootcert")
_MODES = ("disable", "prefer", "require", "verify-full")

_MADE = "SELECT to_regclass('evok_history') IS NOT NULL AND to_regclass('evok_history_place') IS NOT NULL"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS evok_history (time timestamptz NOT NULL, unit text NOT NULL, dev text NOT NULL,
        circuit text NOT NULL, field text NOT NULL, value double precision, cause text)""",
    "CREATE INDEX IF NOT EXISTS evok_history_circuit ON evok_history (unit, dev, circuit, field, time)",
    """CREATE TABLE IF NOT EXISTS evok_history_place (unit text, file bigint, run bigint NOT NULL,
        flush bigint NOT NULL, clock_offset bigint NOT NULL, until bigint NOT NULL, PRIMARY KEY (unit, file))""",
)
#: TimescaleDB is there where its function is.
_TIMESCALE = "SELECT count(*) FROM pg_proc WHERE proname = 'create_hypertable' AND pg_function_is_visible(oid)"
_HYPERTABLE = "SELECT create_hypertable('evok_history', 'time', if_not_exists => true, migrate_data => true)"
#: A hypertable does not let a row be changed so that it belongs elsewhere.
_MOVE = """
WITH moved AS (
    DELETE FROM evok_history WHERE unit = %s AND time >= %s RETURNING *
)
INSERT INTO evok_history
SELECT time + %s * interval '1 millisecond', unit, dev, circuit, field, value, cause FROM moved
"""
_COPY = "COPY evok_history (time, unit, dev, circuit, field, value, cause) FROM STDIN WITH (FORMAT csv)"
_FIND = "SELECT file, run, flush, clock_offset, until FROM evok_history_place WHERE unit = %s AND file = %s"
_KEEP = """
INSERT INTO evok_history_place (unit, file, run, flush, clock_offset, until) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (unit, file) DO UPDATE SET run = EXCLUDED.run, flush = EXCLUDED.flush,
    clock_offset = EXCLUDED.clock_offset, until = EXCLUDED.until
"""


class Address(NamedTuple):
    """Where a database is, and who we are there.

    :ivar host: a name, an address, or the directory of a socket.
    :ivar mode: one of ``disable``, ``prefer``, ``require``, ``verify-full``, as PostgreSQL's own programs have them.
    :ivar authorities: a file of certificates that vouch for the server's; empty for those of the system.
    """

    host: str
    port: int
    database: str
    user: str
    password: str
    mode: str
    authorities: str

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"


def address_of(url: str) -> Address:
    """What ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`` says.

    :raises ConfigError: it says nothing that could be.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError as error:
        raise ConfigError(f"{error}, expected postgresql://USER@HOST:PORT/DATABASE") from None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise ConfigError(f"got the options {', '.join(unknown)}, expected some of {', '.join(_OPTIONS)}")
    mode = options.get("sslmode", "prefer")
    if mode not in _MODES:
        raise ConfigError(f"sslmode: got {mode!r:.40}, expected one of {', '.join(_MODES)}")
    user, database = unquote(parts.username or "evok"), unquote(parts.path.removeprefix("/")) or "evok"
    host = options.get("host") or unquote(parts.hostname or "localhost")
    return Address(host, port, database, user, unquote(parts.password or ""), mode, options.get("sslrootcert", ""))


class Refused(Exception):
    """The server cannot be used; the message says why."""


class Server:
    """A connection to a server.

    :param password_file: has the password, if the address has none; read at each connection.
    :param unit: what we are called there.
    """

    def __init__(self, address: Address, password_file: str, unit: str) -> None:
        self.address = address
        self._password_file = password_file
        self._unit = unit
        self._connection: Any = None
        self._line: socket.socket | None = None

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Whatever goes wrong, what a server that is none does to the driver included, ends the connection."""
        try:
            yield
        except Exception as error:
            self.close()
            raise Refused(_why(error)) from error

    def connect(self) -> None:
        """Connect, and make the tables where they are not there.

        :raises Refused: it cannot be.
        """
        self.close()
        with self._refusing():
            self._connection = self._connected()
            self._prepare()

    def _connected(self) -> Any:
        import pg8000.dbapi  # noqa: PLC0415 -- 5 MB, of those alone who send something

        address = self.address
        password = address.password
        if not password and self._password_file:
            password = Path(self._password_file).read_text("utf-8").strip("\r\n")
        line = self._reached()
        return pg8000.dbapi.connect(
            address.user,
            host=address.host,
            database=address.database,
            password=password or None,
            sock=line,
            ssl_context=False if line.family == socket.AF_UNIX else _tls(address),
            application_name="evok",
        )

    def _reached(self) -> socket.socket:
        """A socket that is connected, of which ``abort`` knows from the start."""
        host, port = self.address.host, self.address.port
        places: list[tuple[int, Any]]
        if host.startswith("/"):
            places = [(socket.AF_UNIX, os.path.join(host, f".s.PGSQL.{port}"))]
        else:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            places = [(family, place) for family, _, _, _, place in found]
        failed: OSError = OSError(f"there is no address of {host}")
        for family, place in places:
            line = socket.socket(family)
            line.settimeout(TIMEOUT)
            self._line = line.dup()  # for the other is gone as soon as TLS has it
            try:
                line.connect(place)
            except OSError as error:
                line.close()
                self._line.close()
                failed = error
            else:
                return line
        raise failed

    def _prepare(self) -> None:
        cursor = self._connection.cursor()
        cursor.execute("SET statement_timeout = '30s'")
        cursor.execute(_MADE)
        if not cursor.fetchone()[0]:
            for table in _TABLES:
                cursor.execute(table)
            cursor.execute(_TIMESCALE)
            if cursor.fetchone()[0]:
                cursor.execute(_HYPERTABLE)
        self._connection.commit()

    def place(self, file: int) -> Place | None:
        """How far it has taken a file over; None where it does not know it.

        :raises Refused: it cannot be asked.
        """
        with self._refusing():
            cursor = self._connection.cursor()
            cursor.execute(_FIND, (self._unit, file))
            row = cursor.fetchone()
            self._connection.commit()
        return None if row is None else Place(*row)

    def take(self, piece: Piece) -> None:
        """Have it take a piece over: all of it, and how far that is, or nothing.

        :raises Refused: it did not, or nobody knows.
        """
        with self._refusing():
            cursor = self._connection.cursor()
            if piece.moved is not None:
                cursor.execute(_MOVE, (self._unit, _time(piece.moved.since), piece.moved.by))
            if piece.rows:
                cursor.execute(_COPY, stream=BytesIO(_lines(self._unit, piece.rows)))
            cursor.execute(_KEEP, (self._unit, *piece.place))
            self._connection.commit()

    def abort(self) -> None:
        """Let whatever is under way fail; may be called in another thread."""
        line = self._line
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection; there may be none."""
        connection, self._connection = self._connection, None
        line, self._line = self._line, None
        if connection is not None:
            with suppress(Exception):
                connection.close()
        if line is not None:
            line.close()


def _tls(address: Address) -> ssl.SSLContext | bool | None:
    """How the driver wants to be told: None is where the server likes it, True is always, with whoever it is."""
    if address.mode == "verify-full":
        return ssl.create_default_context(cafile=address.authorities or None)
    return {"disable": False, "prefer": None, "require": True}[address.mode]


def _why(error: Exception) -> str:
    """What a person can do something with: the server's own sentence, where it is one."""
    said = error.args[0] if error.args else ""
    if isinstance(said, dict):
        return str(said.get("M", said))
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


def _time(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat()


def _lines(unit: str, rows: Iterable[Row]) -> bytes:
    text = StringIO()
    lines = ((_time(row.time), unit, *row.series, row.value, row.cause or None) for row in gently(rows))
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
