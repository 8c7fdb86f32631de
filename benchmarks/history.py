"""What keeping a history costs: the CPU, the bytes that are written to a disk and stay there, and reading a week.

``HOURS`` in the environment says how many hours of 500 changes a second are simulated; the figures are of a day.
"""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import free_port, quantiles, show, used
from reload import RATE, STAYING, Changing, configure, served

from evok_twisted.history import schema, store, tiers
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.buckets import Bucket
from evok_twisted.history.chunks import pack
from evok_twisted.history.store import HOUR

HOURS = int(os.environ.get("HOURS", "1"))
SECONDS = 20.0
#: 2026-11-26T00:00:00Z
BEGIN = 1_795_651_200_000
KEEP = tiers.Keep(7 * tiers.DAY, 90 * tiers.DAY, 5 * 365 * tiers.DAY, 1 << 33)
MB = 1e6


def written() -> int:
    """Bytes that this process has given the system to write."""
    return int(Path("/proc/self/io").read_text("utf-8").split("wchar: ")[1].split()[0])


def simulated(directory: str, circuits: int, rate: float, hours: int, every: int) -> tuple[float, int, int, int]:
    """Some hours of a unit: CPU seconds a second, and the bytes written, of the file, and of its buckets."""
    db = sqlite3.connect(Path(directory) / f"{circuits}.sqlite")
    schema.prepare(db, KEEP.at_most)
    chance, values = random.Random(1), [20.0] * circuits
    new = {n + 1: Series("ai", f"1_{n:03d}", "value") for n in range(circuits)}
    run = store.begin_run(db, BEGIN)
    before, begun = written(), time.process_time()
    spent = 0.0  # by what makes up the changes
    for flush in range(0, hours * HOUR, every * 1000):
        making = time.process_time()
        batch = Batch(flush, BEGIN, whole=flush % HOUR == 0)
        if batch.whole:
            for n in range(circuits):
                batch.add(n + 1, flush, values[n])
        for k in range(int(rate * every)):
            n = chance.randrange(circuits)
            values[n] = round(min(90.0, max(-20.0, values[n] + chance.gauss(0, 0.2))), 2)
            batch.add(n + 1, flush + int(1000 * k / rate), values[n])
        batch.until = flush + every * 1000
        spent += time.process_time() - making
        store.write(db, run, [batch], new)
        db.commit()
        new = {}
        if batch.whole:
            for step in (tiers.roll_up(db, BEGIN + flush), tiers.let_go(db, BEGIN + flush, KEEP)):
                for _ in step:
                    pass
                db.commit()
    for _ in tiers.roll_up(db, BEGIN + hours * HOUR):
        pass
    db.commit()
    buckets = sum(
        db.execute(f"SELECT coalesce(sum(length(data) + 12), 0) FROM {table}").fetchone()[0]
        for table in ("minutes", "hours")
    )
    size = schema.size_of(db)[0]
    db.close()
    taken = (time.process_time() - begun - spent) / (hours * 3600)
    return taken, written() - before, size, buckets


def week(directory: str) -> list[float]:
    """Milliseconds that a week of one circuit takes, in 500 points, of 1000 in the file."""
    db = sqlite3.connect(Path(directory) / "week.sqlite")
    schema.prepare(db, KEEP.at_most)
    chance = random.Random(1)
    run = store.begin_run(db, BEGIN)
    new = {n: Series("ai", f"1_{n:04d}", "value") for n in range(1, 1001)}
    store.write(db, run, [Batch(0, BEGIN, whole=True), Batch(7 * tiers.DAY, BEGIN, whole=True)], new)
    chunks = []
    for _ in range(20):
        low = [round(chance.gauss(20, 3), 2) for _ in range(60)]
        hour = [Bucket(60_000 * n, low[n], low[n] + 0.123, low[n] + 0.5, 60_000, 0, 60_000) for n in range(60)]
        chunks.append(pack(hour, 0, tiers.MINUTE))
    rows = ((n, BEGIN + hour * HOUR, chunks[(n + hour) % 20]) for n in new for hour in range(168))
    db.executemany("INSERT INTO minutes (series, start, data) VALUES (?, ?, ?)", rows)
    store.set_mark(db, "minutes", BEGIN + 7 * tiers.DAY)
    db.commit()
    times = []
    for n in chance.sample(range(1, 1001), 200):
        begun = time.perf_counter()
        found = tiers.find(db, n, BEGIN, BEGIN + 7 * tiers.DAY, 500)
        times.append((time.perf_counter() - begun) * 1000)
        assert 450 < len(found.buckets) <= 501
    db.close()
    return times


def live(directory: str, apis: str) -> float:
    """The part of a CPU that a service takes at 500 changes a second."""
    modbus = free_port()
    simulated = Path(directory) / "simulated.yaml"
    configure(simulated, modbus, free_port(), STAYING)
    text = simulated.read_text().replace("alias_file: ''", f"alias_file: ''{apis}")
    simulated.with_name("config.yaml").write_text(text)
    with served(simulated.parent, modbus) as service:
        changing = Changing(modbus)
        changing.start()
        time.sleep(3)
        part = used(service, SECONDS)
        changing.over.set()
        changing.join()
        return part


def rows() -> Iterator[tuple[str, str]]:
    """The figures."""
    with tempfile.TemporaryDirectory() as directory:
        taken, bytes_written, size, _ = simulated(directory, 40, 1.0, 24, 60)
        yield "a day of 40 circuits, one change a second", f"{bytes_written / MB:.1f} MB written, {size / MB:.1f} stay"
        taken, bytes_written, size, buckets = simulated(directory, 100, RATE, HOURS, 10)
        day = 24 / HOURS
        yield (
            f"a day of {RATE} changes a second",
            f"{buckets * day / MB:.1f} MB of minutes and hours, {size * day / MB:.0f} with the changes; "
            f"{100 * taken:.1f} % of a CPU in the thread",
        )
        yield "a week of one of 1000 circuits, 500 points", quantiles(week(directory))
        history = f", history: {{enabled: true, file: {directory}/live.sqlite, write_every: 60s}}"
        kinds: list[tuple[str, Callable[[], float]]] = [
            ("without", lambda: live(directory, "")),
            ("with a history", lambda: live(directory, history)),
        ]
        for name, measure in kinds * 2:
            yield f"CPU at {RATE} changes a second, {name}", f"{100 * measure():.1f} %"


def run() -> None:
    """Measure and print."""
    show(rows())
