"""What to look at next, where something does not work: the tree of docs/operating.md, for one report of health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: By the type of a bus that is down.
DOWN = {
    "MODBUSTCP": "Is the device on, and is this its address? ping HOST; nc -zv HOST PORT; evok check shows both.",
    "MODBUSRTU": "Is the adapter there, and is its port ours? ls -l /dev/serial/by-id; fuser -v PORT.",
    "OWBUS": "Does owserver run, and does it know the adapter? systemctl status owserver.",
}
ALL_SILENT = {
    "MODBUSTCP": "No board of it answers: is Modbus on in the device, and are the slave-ids right?",
    "MODBUSRTU": "No board of it answers: A and B swapped? Another baudrate, parity, stopbits? evok scan PORT tries.",
}
SOME_SILENT = "Others on the bus answer: its supply, slave-id, piece of the line? evok scan BUS --through: who does."
ERRORS = "What the configuration lacks is told with file and line by: evok check."
REFUSED = "The board answers, but not for these registers: is its model right, and its firmware new enough?"
MISSED = "There are more scans than there is time for: a lower scan_frequency; evok check says how many a line can do."
BROKER = "The broker cannot be used: its address, its user and password; evok check, journalctl -u evok."
HISTORY = "The history is not kept or not sent: is there room (df -h), is the database up? journalctl -u evok."
WEBHOOK = "A receiver of the webhook fails: is its address right, does it answer within 5 s?"

#: The part of its scans that a board may miss until that is worth a word.
MANY = 0.05


def advice(report: Mapping[str, Any]) -> Iterator[str]:
    """What to look at next, each once."""
    yield from dict.fromkeys(_advice(report))


def _advice(report: Mapping[str, Any]) -> Iterator[str]:
    for bus in report["buses"]:
        kind, slaves = bus["type"], bus["slaves"]
        silent = [slave for slave in slaves if not slave["online"]]
        if not bus["online"]:
            yield f"{bus['bus']}: {DOWN[kind]}"
        elif silent and len(silent) == len(slaves):
            yield f"{bus['bus']}: {ALL_SILENT[kind]}"
        else:
            yield from (f"{slave['circuit']}: {SOME_SILENT}" for slave in silent)
            missing = [slave["circuit"] for slave in slaves if slave["missed"] > MANY * slave["scans"]]
            if missing:
                yield f"{', '.join(missing)}: {MISSED}"
    told = [f"bus {bus['bus']} is down" for bus in report["buses"]]
    others = [reason for reason in report["reasons"] if reason not in told and not reason.endswith("does not answer")]
    if any(reason.startswith("slave ") for reason in others):
        yield REFUSED
    if any(not reason.startswith("slave ") for reason in others):
        yield ERRORS
    if not report.get("mqtt", {}).get("connected", True):
        yield BROKER
    history = report.get("history", {})
    if history.get("problem") or history.get("export", {}).get("problem"):
        yield HISTORY
    if not all(hook["working"] for hook in report.get("webhooks", ())):
        yield WEBHOOK
