"""A real service has a real PostgreSQL server take its history over: all of it, once, whatever happens to either."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import threading
import time

import pytest
import requests
import trustme
from brokers import free_port, wait_until
from postgres import PASSWORD, PROGRAMS, USER, Postgres
from witness import Boards, Unit

from evok_twisted.history import queue
from evok_twisted.history.postgres import Refused, Server, address_of
from evok_twisted.history.queue import Moved, Piece, Place, Row, Series

pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="there is no PostgreSQL (apt install postgresql)")

SETTINGS = (
    ", history: {{enabled: true, file: '{file}', write_every: 1s, devices: [ro, di], export: '{url}', unit: cellar}}"
)
RO = Series("ro", "2_01", "value")
#: 2026-11-26T00:00:00Z
DAY = 1_795_651_200_000


@pytest.fixture(scope="module")
def server():
    server = Postgres(free_port())
    yield server
    server.remove()


class Exporting(Unit):
    """A unit whose history a database of the server takes over."""

    def __init__(self, directory, twistd, server, url=None):
        self.file, self.server, self.database = directory / "history.sqlite", server, server.database()
        settings = SETTINGS.format(file=self.file, url=url or server.url(self.database))
        super().__init__(directory, twistd, apis=settings)

    def begin(self):
        service = super().begin()
        wait_until(lambda: requests.get(f"{self.url}/history/events", timeout=5).status_code == 200, "it is kept")
        return service

    def switch(self, value):
        assert requests.post(f"{self.url}/rest/ro/2_01", data={"value": value}, timeout=5).status_code == 200

    def health(self):
        return requests.get(f"{self.url}/health", timeout=5).json()["history"]["export"]

    def kept(self):
        """What the file has of the relay: all that the database is to have."""
        db = sqlite3.connect(self.file, timeout=10)
        piece = queue.following(db, queue.beginning(db), 10**6)
        db.rollback()
        db.close()
        return sorted((row.time, row.value, row.cause) for row in piece.rows if row.series == RO) if piece else []

    def taken(self):
        query = """SELECT round(extract(epoch FROM time) * 1000)::bigint, value, cause FROM evok_history
            WHERE unit = 'cellar' AND dev = 'ro' AND circuit = '2_01' AND field = 'value'"""
        return sorted(self.server.ask(self.database, query))

    def wait_for_all(self, changes):
        """Wait until the database has so many changes, and what is in the file."""
        wait_until(lambda: sum(value is not None for _, value, _ in self.kept()) >= changes, "all is written")
        wait_until(lambda: self.health()["connected"] and len(self.taken()) >= len(self.kept()), "all is taken", 30)
        assert self.taken() == self.kept()


@pytest.fixture
def unit(tmp_path, twistd, server):
    return Exporting(tmp_path, twistd, server)


def test_all_that_changes_is_there_once_and_by_whom(unit):
    for n in range(1, 8):
        unit.switch(n % 2)
    unit.wait_for_all(8)
    assert (unit.taken()[-1][1:]) == (1, "anonymous (rest)")
    health = unit.health()
    assert health["server"] == f"postgresql://evok@127.0.0.1:{unit.server.port}/{unit.database}"
    assert health["sent"] >= 8
    assert (health["lost"], health["problem"]) == (0, None)
    wait_until(lambda: unit.health()["behind"] < 3, "it keeps up")
    assert "a word" not in "\n".join(unit.service.lines)


def test_a_server_that_was_away_gets_what_changed_meanwhile(unit):
    unit.switch(1)
    unit.wait_for_all(2)
    unit.server.end()
    try:
        unit.switch(0)
        unit.switch(1)
        wait_until(lambda: unit.health()["problem"], "it is told")
        assert any(
            "history: postgresql://evok@" in one for one in requests.get(f"{unit.url}/health").json()["warnings"]
        )
        unit.service.wait_for("history: postgresql://.*; what changes waits in the file")
        assert unit.evok("status").returncode == 0
        wait_until(lambda: sum(value is not None for _, value, _ in unit.kept()) >= 4, "it is written")
    finally:
        unit.server.begin()
    unit.wait_for_all(4)
    unit.service.wait_for("history: postgresql://.* takes it over")


def test_a_service_that_is_killed_again_and_again_sends_all_of_it_once(unit):
    changes = 1
    for n in range(4):
        for k in range(20):
            unit.switch((n + k) % 2)
        changes += 18
        unit.service.stop(signal.SIGKILL)
        unit.service = unit.begin()
    unit.switch(1)
    unit.switch(0)
    unit.wait_for_all(2)
    times = [(time, value) for time, value, _ in unit.taken()]
    assert len(set(times)) == len(times)


def test_a_server_that_answers_no_more_holds_up_neither_commands_nor_the_end(unit):
    unit.switch(1)
    unit.wait_for_all(2)
    unit.server.freeze()
    try:
        for n in range(6):
            unit.switch(n % 2)
        wait_until(lambda: len(unit.kept()) >= 8, "it is written")
        begun = time.monotonic()
        assert unit.service.stop() == 0
        assert time.monotonic() - begun < 2
        assert "Unhandled" not in "\n".join(unit.service.lines)
    finally:
        unit.server.thaw()
    unit.service = unit.begin()
    unit.wait_for_all(8)


def test_a_server_that_is_not_there_at_the_start_is_tried_again(tmp_path, twistd, server):
    database = server.database()
    server.end()
    try:
        unit = Exporting.__new__(Exporting)
        unit.file, unit.server, unit.database = tmp_path / "history.sqlite", server, database
        Unit.__init__(unit, tmp_path, twistd, apis=SETTINGS.format(file=unit.file, url=server.url(database)))
        wait_until(lambda: unit.health()["problem"], "it is told")
        assert unit.health()["behind"] is None
        unit.switch(1)
    finally:
        server.begin()
    unit.wait_for_all(2)


def test_a_file_that_was_set_aside_is_followed_by_a_new_one(unit):
    unit.switch(1)
    unit.wait_for_all(2)
    before = unit.taken()
    unit.service.stop()
    unit.file.write_bytes(b"no database at all" * 1000)
    for more in ("-wal", "-shm"):
        unit.file.with_name(unit.file.name + more).unlink(missing_ok=True)
    unit.service = unit.begin()
    unit.service.wait_for("history: .* is broken")
    unit.switch(0)
    wait_until(lambda: len(unit.kept()) >= 2, "it is written")
    wait_until(lambda: len(unit.taken()) >= len(before) + 2, "it is taken")
    assert unit.taken() == sorted(before + unit.kept())


# One server, without a service


def piece(*rows, flush=0, offset=DAY, moved=None):
    rows = [Row(DAY + time, RO, value, cause) for time, value, cause in rows]
    return Piece(rows, Place(7, 1, flush, offset, DAY + flush), moved, 0)


@pytest.fixture
def connected(server):
    made = Server(address_of(server.url(server.database())), "", "cellar")
    made.connect()
    yield made
    made.close()


def there(server, connected):
    query = "SELECT round(extract(epoch FROM time) * 1000)::bigint, value, cause FROM evok_history ORDER BY time"
    return [(time - DAY, *rest) for time, *rest in server.ask(connected.address.database, query)]


def test_a_piece_and_how_far_it_is_are_taken_together(server, connected):
    assert connected.place(7) is None
    connected.take(piece((0, 0.1, None), (1, None, 'he said "1,2"\nand went'), flush=5))
    assert there(server, connected) == [(0, 0.1, None), (1, None, 'he said "1,2"\nand went')]
    assert connected.place(7) == Place(7, 1, 5, DAY, DAY + 5)
    assert connected.place(8) is None
    with pytest.raises(Refused):
        connected.take(piece((2, "no number", None), flush=9))
    connected.connect()
    assert connected.place(7).flush == 5


def test_rows_of_before_move_with_a_clock_that_was_set(server, connected):
    connected.take(piece((-10, 5, None), (0, 1, None), (3000, 2, None)))
    connected.take(piece((60_000, 3, None), offset=DAY + 500, moved=Moved(DAY, 500)))
    assert [row[:2] for row in there(server, connected)] == [(-10, 5), (500, 1), (3500, 2), (60_000, 3)]


def test_where_timescale_is_the_table_is_a_hypertable(server):
    database = server.database()
    connection = server.connect(database)
    connection.cursor().execute("CREATE TABLE made (what text, at text)")
    connection.cursor().execute("""
        CREATE FUNCTION create_hypertable(relation regclass, time_column_name name,
            if_not_exists boolean DEFAULT false, migrate_data boolean DEFAULT false) RETURNS void
        LANGUAGE sql AS 'INSERT INTO made VALUES (relation::text, time_column_name)'""")
    connection.close()
    made = Server(address_of(server.url(database)), "", "cellar")
    for _ in range(2):
        made.connect()
    made.close()
    assert server.ask(database, "SELECT * FROM made") == [("evok_history", "time")]


def test_who_may_only_insert_needs_no_more(server):
    database = server.database()
    first = Server(address_of(server.url(database)), "", "cellar")
    first.connect()
    first.close()
    connection = server.connect(database)
    for line in (
        "CREATE ROLE writer LOGIN PASSWORD 'w'",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON evok_history, evok_history_place TO writer",
    ):
        connection.cursor().execute(line)
    connection.close()
    made = Server(address_of(f"postgresql://writer:w@127.0.0.1:{server.port}/{database}"), "", "cellar")
    made.connect()
    made.take(piece((0, 1, None)))
    made.close()


def test_the_password_may_be_in_a_file_and_the_socket_one_of_the_machine(server, tmp_path):
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    url = f"postgresql://evok@localhost:{server.port}/{server.database()}?host={server.directory}"
    made = Server(address_of(url), str(tmp_path / "password"), "cellar")
    made.connect()
    made.close()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda url: url.replace("a%20word", "another"), "password authentication failed"),
        (lambda url: url.replace("plant", "nowhere"), "does not exist"),
        (lambda url: f"{url}?sslmode=require", "SSL"),
    ],
    ids=["password", "database", "tls"],
)
def test_why_a_server_cannot_be_used_is_told(server, change, why):
    made = Server(address_of(change(server.url(server.database()))), "", "cellar")
    with pytest.raises(Refused, match=why):
        made.connect()


def test_a_server_that_is_none_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=lambda: other.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        thread.start()
        made = Server(address_of(f"postgresql://evok@127.0.0.1:{other.getsockname()[1]}/plant"), "", "cellar")
        with pytest.raises(Refused):
            made.connect()
        thread.join(5)
    with pytest.raises(Refused, match="Connection refused"):
        Server(address_of(f"postgresql://evok@127.0.0.1:{free_port()}/plant"), "", "cellar").connect()


def test_who_the_server_is_can_be_made_sure_of(tmp_path):
    server, authority, other = Postgres(free_port()), trustme.CA(), trustme.CA()
    try:
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(server.data / "server.key")
        certificate.cert_chain_pems[0].write_to_path(server.data / "server.crt")
        for name in ("server.key", "server.crt"):
            (server.data / name).chmod(0o600)
            if USER:
                shutil.chown(server.data / name, USER)
        server.end()
        server.begin("-l")
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        other.cert_pem.write_to_path(tmp_path / "other.pem")
        database = server.database()
        for name, works in (("authority.pem", True), ("other.pem", False)):
            url = server.url(database, more=f"?sslmode=verify-full&sslrootcert={tmp_path / name}")
            made = Server(address_of(url), "", "cellar")
            if works:
                made.connect()
                query = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = "
                assert server.ask("postgres", f"{query} '{database}'") == [(1,)]
            else:
                with pytest.raises(Refused, match="certificate verify failed"):
                    made.connect()
            made.close()
    finally:
        server.remove()


def test_what_is_kept_is_what_is_sent(unit):
    boards = Boards(unit.modbus)
    boards.write(1, 0, 1)
    boards.close()
    unit.switch(1)
    unit.wait_for_all(2)
    assert unit.server.ask(unit.database, "SELECT DISTINCT dev FROM evok_history ORDER BY dev") == [("di",), ("ro",)]
