"""Aliases over a restart."""

from __future__ import annotations

import os
import stat

import pytest
from fakes import BY, Rig, core_of
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from evok_twisted.core import aliasstore
from evok_twisted.core.aliasstore import RETRY_DELAY, SAVE_DELAY, AliasStore, alias_file
from evok_twisted.core.commands import Commands
from evok_twisted.core.desk import Desk
from evok_twisted.errors import Conflict, NotSaved
from evok_twisted.files import write_file
from evok_twisted.model.digitaloutput import Led


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lib" / "aliases.yaml"


class Unit:
    """A board whose aliases are kept in ``file``."""

    def __init__(self, file, in_thread=maybeDeferred, model="00"):
        self.rig = Rig(Clock(), model).start()
        rig = self.rig
        self.store = AliasStore(rig.registry, rig.events, rig.clock, file, in_thread)
        self.registry, self.health = rig.registry, rig.health
        self.commands = Commands(rig.registry, rig.events, {"1": rig.writer, "": self.store})
        self.store.load()

    def alias(self, name, circuit):
        return self.rig.device(name, circuit).alias

    def set(self, name, circuit, **parameters):
        return Desk(core_of(self, self.rig.events), "classic", BY).set(name, circuit, parameters)

    def stop(self):
        done = Deferred.fromCoroutine(self.store.stop())
        assert done.called


@pytest.fixture
def unit(file):
    return Unit(file)


def error(done):
    failure = done.result
    done.addErrback(lambda _: None)
    return failure.value


def given(file, text):
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


# What is saved, and when


def test_an_alias_is_saved_within_five_seconds(unit, file):
    """Defect 16 of Evok: what was set in the last five minutes is lost."""
    unit.set("relay", "1_01", alias="door")
    assert not file.exists()
    unit.rig.clock.advance(SAVE_DELAY)
    assert SAVE_DELAY < 5
    assert Unit(file).alias("relay", "1_01") == "door"


def test_an_alias_is_saved_when_the_service_stops(unit, file):
    """Defect 16 of Evok again."""
    unit.set("relay", "1_01", alias="door")
    unit.stop()
    assert Unit(file).alias("relay", "1_01") == "door"


def test_a_client_can_have_them_saved_at_once(unit, file):
    unit.set("relay", "1_01", alias="door")
    done = unit.set("run", "alias", save=True)
    assert done.result.kind == "run"
    assert Unit(file).alias("relay", "1_01") == "door"


def test_saving_is_not_done_unless_it_is_asked_for(unit, file):
    unit.set("relay", "1_01", alias="door")
    unit.set("run", "alias", save=0)
    assert not file.exists()


def test_many_changes_are_saved_once(file):
    written = []
    unit = Unit(file, lambda blocking: maybeDeferred(lambda: (written.append(1), blocking())[1]))
    for n in (1, 2, 3):
        unit.set("led", f"1_0{n}", alias=f"lamp{n}")
        unit.rig.clock.advance(0.1)
    unit.rig.clock.advance(60)
    assert written == [1]


def test_an_alias_that_was_taken_away_is_gone_after_a_restart(unit, file):
    unit.set("relay", "1_01", alias="door")
    unit.rig.clock.advance(SAVE_DELAY)
    unit.set("relay", "1_01", alias="")
    unit.stop()
    assert Unit(file).alias("relay", "1_01") == ""


def test_a_change_while_the_file_is_written_is_saved_after_it(file):
    writing = []

    def slowly(blocking):
        done = Deferred()
        writing.append((blocking, done))
        return done

    def finish():
        blocking, done = writing.pop(0)
        done.callback(blocking())

    unit = Unit(file, slowly)
    unit.set("led", "1_01", alias="first")
    unit.rig.clock.advance(SAVE_DELAY)
    unit.set("led", "1_02", alias="second")
    stopped = Deferred.fromCoroutine(unit.store.stop())
    assert len(writing) == 1
    finish()
    assert not stopped.called
    finish()
    assert stopped.called
    assert [Unit(file).alias("led", f"1_0{n}") for n in (1, 2)] == ["first", "second"]


def test_the_file_is_replaced_whole_and_can_be_read_by_others(unit, file):
    unit.set("led", "1_01", alias="00")
    unit.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["aliases.yaml"]
    assert file.read_text() == "version: '2.0'\naliases:\n  '00':\n    circuit: '1_01'\n    devtype: led\n"
    assert Unit(file).alias("led", "1_01") == "00"


def test_a_write_that_breaks_off_leaves_the_old_file(unit, file, monkeypatch, log):
    """Defect 16 of Evok: a crash tears the file."""
    unit.set("led", "1_01", alias="old")
    unit.rig.clock.advance(SAVE_DELAY)
    before = file.read_text()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aliasstore.os, "fsync", full)
    unit.set("led", "1_01", alias="new")
    unit.rig.clock.advance(SAVE_DELAY)
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["aliases.yaml"]
    assert f"aliases cannot be saved to {file}: No space left on device" in log.texts("error")[0]
    monkeypatch.undo()
    unit.rig.clock.advance(RETRY_DELAY)
    assert Unit(file).alias("led", "1_01") == "new"
    assert f"aliases are saved to {file} again, after {RETRY_DELAY:.1f} s" in log.texts("info")


def test_a_symbolic_link_stays_one_and_the_file_that_it_leads_to_is_replaced(file, tmp_path):
    real = tmp_path / "elsewhere" / "mine.yaml"
    given(real, "version: 2.0\naliases: {old: {circuit: 1_01, devtype: led}}\n")
    file.parent.mkdir()
    file.symlink_to(real)
    unit = Unit(file)
    unit.set("led", "1_01", alias="lamp")
    unit.stop()
    assert file.is_symlink()
    assert "lamp" in real.read_text()
    assert os.listdir(real.parent) == ["mine.yaml"]


def test_saves_that_are_killed_leave_one_file_at_most_and_the_next_takes_its_place(unit, file, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        for _ in range(3):
            with pytest.raises(Killed):
                write_file(file, "half")
    assert len(os.listdir(file.parent)) == 1
    write_file(file, "whole")
    assert [(one.name, one.read_text()) for one in file.parent.iterdir()] == [(file.name, "whole")]


def test_whoever_has_them_saved_is_told_that_it_failed(tmp_path, log):
    (tmp_path / "lib").write_text("a file where a directory is needed")
    unit = Unit(tmp_path / "lib" / "aliases.yaml")
    unit.set("led", "1_01", alias="lamp")
    assert type(error(unit.set("run", "alias", save=True))) is NotSaved
    unit.stop()
    assert "what changed since is lost" in log.texts("error")[-1]


def test_a_condition_that_lasts_is_logged_once(tmp_path, log):
    (tmp_path / "lib").write_text("")
    unit = Unit(tmp_path / "lib" / "aliases.yaml")
    unit.set("led", "1_01", alias="lamp")
    unit.rig.clock.pump([1] * 200)
    assert len(log.texts("error")) == 1


def test_without_a_file_they_are_in_memory_and_nobody_is_told_otherwise():
    unit = Unit(None)
    unit.set("led", "1_01", alias="lamp")
    assert type(error(unit.set("run", "alias", save=1))) is NotSaved
    unit.rig.clock.advance(60)
    unit.stop()


# What is read


@pytest.mark.parametrize(
    "text",
    [
        "version: 1.0\naliases:\n  al_door: {circuit: 1_01, devtype: 17}\n",
        "version: '1.0'\naliases:\n  'al_door': {circuit: '1_01', devtype: '0'}\n",
        "version: 1.0\naliases:\n  al_door:\n    circuit: 1_01\n    devtype: relay\n",
        "version: 2.0\naliases: {al_door: {circuit: 1_01, devtype: do}}\n",
        'version: "2.0"\naliases: {"al_door": {"circuit": "1_01", "devtype": "do"}}\n',
        "version: 2.0\naliases: {al_door: {circuit: do_1_01, devtype: do}}\n",
        "version: 2.0\naliases: {al_door: {circuit: 1_01, devtype: 17}}\n",
        "version: 2.0\naliases: {al_door: {circuit: 1_01, devtype: relay}}\n",
        # Evok 2
        "version: 1.0\naliases:\n- {circuit: 1_01, dev_type: 0, name: al_door}\n",
        "version: 1.0\naliases:\n- {circuit: 1_01, dev_type: relay, name: al_door}\n",
    ],
)
def test_evoks_file_is_read_where_ours_is_not_there_and_left_as_it_is(file, text):
    evoks = file.with_name("alias.yaml")
    given(evoks, text)
    unit = Unit(file)
    assert unit.alias("relay", "1_01") == "al_door"
    unit.stop()
    assert evoks.read_text() == text
    assert Unit(file).alias("relay", "1_01") == "al_door"


def test_our_file_comes_before_evoks(file):
    given(file, "version: 2.0\naliases: {ours: {circuit: 1_01, devtype: led}}\n")
    given(file.with_name("alias.yaml"), "version: 2.0\naliases: {theirs: {circuit: 1_01, devtype: led}}\n")
    assert Unit(file).alias("led", "1_01") == "ours"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "relay"),  # of this board they are transistor outputs, which Evok 2 calls relays
        (1, "input"),
        (2, "ai"),
        (3, "ao"),
        (15, "modbus_slave"),
        (17, "do"),
        (18, "led"),
        (19, "wd"),
        (20, "register"),
        (29, "owpower"),
    ],
)
def test_the_numbers_of_kinds_are_evoks(file, number, name):
    circuit = {"modbus_slave": "1", "owpower": "1", "register": "1_0"}.get(name, "1_01")
    given(file.with_name("alias.yaml"), f"version: 1.0\naliases: {{x: {{circuit: {circuit}, devtype: {number}}}}}\n")
    assert Unit(file).alias(name, circuit) == "x"


@pytest.mark.parametrize(("number", "kind"), [(0, "ro"), (1, "di")])
def test_of_a_board_with_both_a_number_is_the_kind_that_it_stands_for(file, number, kind):
    given(file.with_name("alias.yaml"), f"version: 1.0\naliases: {{x: {{circuit: 1_01, devtype: {number}}}}}\n")
    unit = Unit(file, model="13")
    assert {name for name in ("ro", "di") if unit.alias(name, "1_01")} == {kind}


def test_what_an_earlier_version_took_over_as_the_wrong_kind_is_told_and_left(file, log):
    given(
        file.with_name("alias.yaml"),
        "version: 1.0\naliases: {lamp: {circuit: 1_01, devtype: 0}, b: {circuit: 1_02, devtype: 2}}\n",
    )
    given(file, "version: 2.0\naliases: {lamp: {circuit: 1_01, devtype: di}, b: {circuit: 1_02, devtype: ai}}\n")
    unit = Unit(file, model="13")
    assert unit.alias("di", "1_01") == "lamp"
    (told,) = log.texts("error")
    assert "the alias lamp is of di 1_01 here and of ro 1_01 in" in told
    unit.stop()
    assert "devtype: di" in file.read_text()


def test_an_alias_that_was_given_anew_since_is_not_taken_for_wrong(file, log):
    given(file.with_name("alias.yaml"), "version: 1.0\naliases: {lamp: {circuit: 1_01, devtype: 0}}\n")
    given(file, "version: 2.0\naliases: {lamp: {circuit: 1_02, devtype: di}}\n")
    assert Unit(file, model="13").alias("di", "1_02") == "lamp"
    assert log.texts("error") == []


def test_an_entry_of_evok_2_without_a_name_costs_itself(file, log):
    given(
        file.with_name("alias.yaml"),
        "version: 1.0\naliases:\n- {circuit: 1_01, dev_type: 18}\n- {circuit: 1_01, dev_type: 18, name: lamp}\n",
    )
    assert Unit(file).alias("led", "1_01") == "lamp"
    assert len(log.texts("error")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version: 2.0\naliases: {lamp: {circuit: 1_01, dev", "line 2"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"", "is of version None, expected 1.0 or 2.0"),
        (b"version: 7.0\naliases: {}\n", "is of version '7.0', expected 1.0 or 2.0"),
        (b"- lamp\n", "has no aliases in it"),
        (b"version: 2.0\naliases: lamp\n", "has no aliases in it"),
    ],
)
def test_a_torn_or_unreadable_file_is_kept_aside_and_told_of(file, log, content, message):
    file.parent.mkdir()
    file.write_bytes(content)
    unit = Unit(file)
    (told,) = log.texts("error")
    assert message in told
    assert told.endswith("it is kept as aliases.yaml.bad1")
    assert file.with_name("aliases.yaml.bad1").read_bytes() == content
    unit.set("led", "1_01", alias="lamp")
    unit.stop()
    assert Unit(file).alias("led", "1_01") == "lamp"


def test_a_second_torn_file_does_not_replace_the_first(file):
    for n in (1, 2):
        given(file, f"torn {n}: [")
        Unit(file)
        assert file.with_name(f"aliases.yaml.bad{n}").read_text() == f"torn {n}: ["


def test_evoks_torn_file_is_told_of_and_left_where_it_is(file, log):
    given(file.with_name("alias.yaml"), "version: [")
    Unit(file)
    assert len(log.texts("error")) == 1
    assert file.with_name("alias.yaml").read_text() == "version: ["


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("'a b': {circuit: 1_02, devtype: led}", "a b: alias: got 'a b'"),
        ("1_03: {circuit: 1_02, devtype: led}", "is the name of a circuit"),
        ("b: {circuit: 1_01, devtype: led}", "led 1_01 has an alias already, 'lamp'"),
        ("al_lamp: {circuit: 1_02, devtype: led}", "is taken by led 1_01"),
        ("b: {circuit: 1_02}", "b: expected a circuit and a devtype"),
        ("b: led_1_02", "b: expected a circuit and a devtype"),
        ("b: {circuit: [1], devtype: led}", "b: expected a circuit and a devtype"),
        ('b: {circuit: "\\ud800", devtype: led}', "b: expected a circuit and a devtype"),
    ],
)
def test_one_bad_entry_costs_itself_and_the_file_is_kept(file, log, entry, message):
    text = f"version: 2.0\naliases:\n  lamp: {{circuit: 1_01, devtype: led}}\n  {entry}\n"
    given(file, text)
    unit = Unit(file)
    assert unit.alias("led", "1_01") == "lamp"
    assert message in log.texts("error")[0]
    assert file.with_name("aliases.yaml.bad1").read_text() == text
    unit.stop()
    assert Unit(file).alias("led", "1_01") == "lamp"


def test_a_place_that_cannot_be_written_is_told_of_at_the_start(file, log, monkeypatch):
    monkeypatch.setattr(aliasstore.os, "access", lambda path, how, effective_ids: False)
    Unit(file)
    assert f"{file} cannot be written, aliases will be lost" in log.texts("warn")[0]


# Devices that are not there


def later(unit, name):
    """A LED that comes while the service runs."""
    definition = unit.rig.device("led", "1_01")
    feature = type("Feature", (), {"val_reg": 20, "val_coil": 8, "start_index": 0})
    assert isinstance(definition, Led)
    led = Led(name, 9, feature, 0)
    unit.rig.registry.add(led)
    return led


def test_an_alias_of_a_device_that_is_not_there_is_kept_and_given_when_it_comes(file, log):
    given(file, "version: 2.0\naliases: {lamp: {circuit: 9_01, devtype: led}, x: {circuit: a_1, devtype: uart}}\n")
    unit = Unit(file)
    assert "aliases of devices that are not there (yet), kept: lamp, x" in log.texts("info")
    unit.set("led", "1_01", alias="other")
    unit.stop()
    again = Unit(file)
    assert again.alias("led", "1_01") == "other"
    assert later(again, "9").alias == "lamp"
    assert again.rig.device("led", "lamp").circuit == "9_01"
    again.stop()
    assert "uart" in file.read_text()


def test_an_alias_that_may_be_of_two_kinds_is_kept_as_such(file):
    given(file.with_name("alias.yaml"), "version: 1.0\naliases: {lamp: {circuit: 9_01, devtype: 0}}\n")
    unit = Unit(file)
    unit.stop()
    (target,) = Unit(file).rig.registry.book.all().values()
    assert target == (("ro", "do"), "9_01")


def test_an_alias_of_an_absent_device_can_be_given_to_another(file):
    given(file, "version: 2.0\naliases: {lamp: {circuit: 9_01, devtype: led}}\n")
    unit = Unit(file)
    unit.set("led", "1_01", alias="lamp")
    assert unit.alias("led", "1_01") == "lamp"
    assert later(unit, "9").alias == ""


def test_two_aliases_alike_of_absent_devices_are_one(file, log):
    given(file, "version: 2.0\naliases: {a: {circuit: 9_01, devtype: led}, al_a: {circuit: 9_02, devtype: led}}\n")
    assert list(Unit(file).rig.registry.book.all()) == ["a"]
    assert "stands twice" in log.texts("error")[0]


def test_an_alias_waits_on_where_a_circuit_has_come_to_be_called_so(file):
    given(file, "version: 2.0\naliases: {9_01: {circuit: 8_01, devtype: led}}\n")
    unit = Unit(file)
    later(unit, "9")
    assert later(unit, "8").alias == ""
    assert "9_01" in unit.rig.registry.book.all()


# As clients see it


def test_a_change_of_an_alias_is_a_change_of_the_table(unit):
    unit.rig.changes.clear()
    unit.set("led", "1_01", alias="lamp")
    assert ["run alias"] in unit.rig.changed()


def test_an_alias_that_is_refused_is_not_saved(unit, file):
    assert type(error(unit.set("led", "1_01", alias="1_02"))) is Conflict
    unit.stop()
    assert not file.exists()


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("/var/lib/evok", "/var/lib/evok/aliases.yaml"),
        ("/etc/names.yaml", "/etc/names.yaml"),
        ("names.yml", "names.yml"),
        ("", None),
    ],
)
def test_the_setting_names_a_file_or_a_directory(setting, path):
    found = alias_file(setting)
    assert (None if found is None else os.fspath(found)) == path


def test_evoks_aliases_do_not_come_back_when_ours_are_torn(file):
    """They may be of other circuits by now: a set by an alias would switch the wrong one."""
    given(file.with_name("alias.yaml"), "version: 2.0\naliases: {pump: {circuit: 1_01, devtype: led}}\n")
    given(file, "\0\0\0\0")
    unit = Unit(file)
    assert unit.alias("led", "1_01") == ""
    unit.stop()
    assert Unit(file).alias("led", "1_01") == ""


def test_a_file_that_is_put_aside_stays_until_it_is_written_anew(file):
    given(file, "version: 2.0\naliases: {lamp: {circuit: 1_01, devtype: led}, 'a b': {circuit: 1_02, devtype: led}}\n")
    unit = Unit(file)
    assert "lamp" in file.read_text()
    unit.rig.clock.advance(SAVE_DELAY)
    assert "a b" not in file.read_text()


def test_a_change_is_saved_soon_though_saving_has_failed_before(file, log, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    unit = Unit(file)
    monkeypatch.setattr(aliasstore.os, "fsync", full)
    unit.set("led", "1_01", alias="one")
    unit.rig.clock.advance(SAVE_DELAY)
    monkeypatch.undo()
    unit.set("led", "1_02", alias="two")
    unit.rig.clock.advance(SAVE_DELAY)
    assert Unit(file).alias("led", "1_02") == "two"
    assert len(log.texts("error")) == 1


def test_the_directory_is_synced_too_or_a_loss_of_power_could_undo_the_renaming(unit, file, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(aliasstore.os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_mode), fsync(handle)))
    unit.set("led", "1_01", alias="one")
    unit.stop()
    assert [stat.S_ISDIR(mode) for mode in synced] == [False, True]


def test_nothing_is_left_to_be_done_after_the_stop(file, log, monkeypatch):
    unit = Unit(file)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aliasstore.os, "fsync", full)
    unit.set("led", "1_01", alias="one")
    unit.stop()
    assert not [call for call in unit.rig.clock.getDelayedCalls() if "_save_in_time" in str(call)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_directory_that_may_not_be_looked_into_costs_the_aliases_and_not_the_service(tmp_path, log):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        Unit(closed / "deeper" / "aliases.yaml")
        assert alias_file(str(closed / "deeper")) is not None
    finally:
        os.seteuid(0)
    assert "cannot be written" in log.texts("warn")[0]
