"""A real PostgreSQL server, of its own user where we are root, for it does not run as that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pg8000.dbapi

PASSWORD = "a word"


def _programs():
    """Where the programs of PostgreSQL are; Debian has those of the server in no PATH."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


#: None where there is no server to be had.
PROGRAMS = _programs()
USER = "postgres" if os.geteuid() == 0 else None


class Postgres:
    """A server on a port of this machine, with one empty database after another."""

    def __init__(self, port):
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix="evok-postgres-"))
        (self.directory / "password").write_text(PASSWORD)
        if USER:
            shutil.chown(self.directory, USER)
            shutil.chown(self.directory / "password", USER)
        self.data = self.directory / "data"
        how = ["--auth=scram-sha-256", f"--pwfile={self.directory}/password", "--username=evok", "--no-sync"]
        made = subprocess.run(
            [PROGRAMS / "initdb", "-D", self.data, *how], user=USER, capture_output=True, cwd="/", timeout=60
        )
        assert made.returncode == 0, made.stderr.decode()
        self._databases = 0
        self.process = None
        self.begin()

    def begin(self, *options):
        log = (self.directory / "log").open("ab")
        arguments = ["-k", self.directory, "-h", "127.0.0.1", "-p", str(self.port), "-F", *options]
        self.process = subprocess.Popen(
            [PROGRAMS / "postgres", "-D", self.data, *arguments], user=USER, stdout=log, stderr=log, cwd="/"
        )
        log.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                self.connect("postgres").close()
                break
            except pg8000.dbapi.Error:
                assert time.monotonic() < deadline and self.process.poll() is None, self.said()

    def end(self):
        """Stop it at once, as if it had crashed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def remove(self):
        self.end()
        shutil.rmtree(self.directory)

    def said(self):
        return (self.directory / "log").read_text()

    def connect(self, database):
        made = pg8000.dbapi.connect("evok", "127.0.0.1", database, self.port, PASSWORD, timeout=10)
        made.autocommit = True
        return made

    def database(self):
        """A new database; its name."""
        self._databases += 1
        name = f"plant{self._databases}"
        connection = self.connect("postgres")
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        return name

    def url(self, database, host="127.0.0.1", more=""):
        return f"postgresql://evok:{PASSWORD.replace(' ', '%20')}@{host}:{self.port}/{database}{more}"

    def ask(self, database, query):
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            connection.close()

    def freeze(self):
        """Let it stop answering, with all that serves a connection."""
        for one in self._family():
            os.kill(one, signal.SIGSTOP)

    def thaw(self):
        for one in self._family():
            with suppress(ProcessLookupError):  # it had to end as soon as it could
                os.kill(one, signal.SIGCONT)

    def _family(self):
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]
