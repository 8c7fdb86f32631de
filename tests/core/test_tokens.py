"""Tokens, their file, and the keyring that follows it."""

from __future__ import annotations

import os

import pytest
from twisted.internet.task import Clock

from evok_twisted.core.identity import Scopes
from evok_twisted.core.keyring import LOOK, Failures, Keyring
from evok_twisted.core.tokens import Token, digest_of, fresh, id_of, load, networks_of, save, scopes_of
from evok_twisted.errors import ConfigError, TooManyFailures, Unauthorized
from evok_twisted.problems import Problems

NOW = 1_800_000_000.0


OPERATOR = Scopes("operator")


def issued(name="nodered", *, scopes=OPERATOR, networks=(), expires=None):
    """A token with what is kept of it."""
    id, text = fresh(())
    return text, Token(id, name, scopes, networks_of(networks), NOW - 10, expires, digest_of(text))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens.yaml"


class House:
    def __init__(self, file, *tokens):
        self.file = file
        self.clock = Clock()
        self.now = NOW
        self.ring = Keyring(file, self.clock, lambda: self.now)
        self.changes = []
        self.ring.changed.watch(lambda: self.changes.append(None))
        if tokens:
            self.write(*tokens)

    def write(self, *tokens):
        save(self.file, {token.id: token for token in tokens})
        return self

    def start(self):
        self.ring.startService()
        return self

    def look(self):
        self.clock.advance(LOOK)

    def refusal(self, text, address="10.0.0.1"):
        with pytest.raises(Unauthorized) as refused:
            self.ring.find(text, address)
        return str(refused.value)


def test_a_token_has_256_random_bits_and_an_id():
    texts = {fresh(())[1] for _ in range(100)}
    assert len(texts) == 100
    assert {len(text) for text in texts} == {len("evok_") + 8 + 1 + 43}
    assert all(id_of(text) == text[5:13] for text in texts)


@pytest.mark.parametrize(
    "text", ["", "evok_", "evok_0123456_" + "a" * 43, "evok_01234567_" + "a" * 42, "x" * 8192, "\ud800"]
)
def test_what_is_no_token_has_no_id(text):
    assert id_of(text) is None


def test_a_file_keeps_all_of_a_token_but_the_token(file):
    text, token = issued(scopes=Scopes("operator", ("ro", "do/2_*")), networks=("192.168.1.0/24",), expires=NOW + 3600)
    House(file, token)
    assert load(file, Problems()) == {token.id: token}
    assert text not in file.read_text()
    assert text.split("_", 2)[2] not in file.read_text()  # the secret itself may have any _ in it
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_there_has_no_tokens(file):
    assert load(file, Problems()) == {}
    assert "no token" in House(file).start().refusal(issued()[0])


def test_the_token_and_no_other_is_taken(file):
    text, token = issued()
    house = House(file, token).start()
    assert house.ring.find(text, "10.0.0.1") == token
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for other in (wrong, text.upper(), text + "=", issued()[0], "", text.encode().decode("utf-16", "ignore")):
        assert "no token of this service" in house.refusal(other)


def test_a_token_is_taken_from_its_networks_only(file):
    text, token = issued(networks=("192.168.1.0/24", "::1"))
    house = House(file, token).start()
    for address in ("192.168.1.77", "::ffff:192.168.1.77", "::1"):
        assert house.ring.find(text, address) == token
    for address in ("192.168.2.1", "fe80::1%eth0", "", "nonsense"):
        assert "not for this address" in house.refusal(text, address)


def test_a_token_that_expires_is_refused_and_let_go(file):
    text, token = issued(expires=NOW + 60)
    house = House(file, token).start()
    assert house.ring.still(token)
    house.now += 60
    assert "expired" in house.refusal(text)
    assert not house.ring.still(token)
    house.changes.clear()
    house.look()
    assert house.changes == [None]


def test_a_file_that_changes_is_taken_over_within_2_seconds(file):
    one, two = issued("one"), issued("two")
    house = House(file, one[1]).start()
    house.write(two[1])
    house.look()
    assert house.ring.find(two[0], "") == two[1]
    assert not house.ring.still(one[1])
    assert len(house.changes) == 2


def test_a_token_that_was_made_just_now_is_known_at_once(file):
    house = House(file, issued()[1]).start()
    text, token = issued()
    house.write(token)
    assert house.ring.find(text, "") == token


def test_tokens_that_come_change_and_go_are_logged(file, log):
    _, one = issued("one")
    _, two = issued("two", expires=NOW + 60)
    house = House(file, one, two).start()
    house.write(one._replace(scopes=Scopes("viewer")), two)
    house.look()
    house.now += 60
    house.look()
    house.write()
    house.look()
    assert log.texts("info") == [
        f"token {one.id} of one is known, with the role operator",
        f"token {two.id} of two is known, with the role operator",
        f"token {one.id} of one was changed",
        f"token {two.id} of two has expired",
        f"token {one.id} of one was revoked",
    ]


def test_a_file_that_goes_takes_its_tokens_with_it(file):
    text, token = issued()
    house = House(file, token).start()
    file.unlink()
    house.look()
    assert "no token" in house.refusal(text)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("version: 1\ntokens: {0123", "line 2"),
        ("version: 9\ntokens: {}", "version '9', expected 1"),
        ("tokens: {}", "version None"),
        ("- a", "expected a mapping"),
        ("version: 1\ntokens: [a]", "expected a mapping"),
    ],
)
def test_a_file_that_is_of_no_use_leaves_the_tokens_as_they_were(file, log, content, why):
    text, token = issued()
    house = House(file, token).start()
    file.write_text(content)
    house.look()
    house.look()
    assert house.ring.find(text, "") == token
    (told,) = log.texts("error")
    assert why in told and "stay as they were" in told
    house.write(token)
    house.look()
    assert any("can be used again" in line for line in log.texts("info"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("role: operator, write: [lamp/1]", "'lamp/1', expected a kind"),
        ("role: operator, write: ['ro/']", "behind the slash"),
        ("role: boss", "one of viewer, operator, admin"),
        ("role: viewer, from: [home]", "expected an address or a network"),
        ("role: viewer, expires: tomorrow", "expected a time"),
        ("role: viewer, sha256: abc", "64 hexadecimal digits"),
    ],
)
def test_a_token_with_an_error_costs_itself_and_names_its_line(file, line, told):
    _, good = issued()
    House(file, good)
    digest = "" if "sha256" in line else f", sha256: {'0' * 64}"
    with file.open("a") as opened:
        opened.write(f"  00000000: {{name: bad, {line}{digest}}}\n")
    problems = Problems()
    assert load(file, problems) == {good.id: good}
    (problem,) = problems.errors
    assert told in problem.message
    assert problem.line == len(file.read_text().splitlines())


def test_a_file_that_everybody_can_read_is_a_warning_and_one_that_others_can_write_is_not_used(file):
    House(file, issued()[1])
    os.chmod(file, 0o644)
    problems = Problems()
    assert len(load(file, problems)) == 1
    assert "can be read by everybody (mode 644)" in problems.found[0].message
    os.chmod(file, 0o660)
    with pytest.raises(ConfigError, match="can be written by others"):
        load(file, Problems())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_not_used_and_a_save_keeps_the_owner(file, monkeypatch):
    _, token = issued()
    House(file, token)
    os.chown(file, 12345, 12345)
    save(file, {token.id: token})
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12345)
    with pytest.raises(ConfigError, match="belongs to the user 12345"):
        load(file, Problems())


def test_who_shows_wrong_tokens_is_slowed_down_and_nobody_else(file):
    text, token = issued()
    house = House(file, token).start()
    for _ in range(Failures.most):
        house.refusal(issued()[0], "10.0.0.1")
    with pytest.raises(TooManyFailures, match="try again in 10 s"):
        house.ring.find(text, "10.0.0.1")
    assert house.ring.find(text, "10.0.0.2") == token
    house.clock.advance(Failures.pause)
    house.refusal(issued()[0], "10.0.0.1")
    with pytest.raises(TooManyFailures):
        house.ring.find(text, "10.0.0.1")
    house.clock.advance(Failures.pause)
    for _ in range(50):  # the right one is no failure
        assert house.ring.find(text, "10.0.0.1") == token


def test_addresses_of_ipv6_count_by_64_and_not_all_are_remembered():
    failures = Failures(Clock())
    for n in range(Failures.most):
        failures.note(f"2001:db8::{n:x}")
    with pytest.raises(TooManyFailures):
        failures.check("2001:db8::ffff")
    failures.check("2001:db8:0:1::1")
    for n in range(Failures.remembered):
        failures.note(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    failures.check("2001:db8::ffff")


def test_scopes_name_kinds_that_there_are():
    assert scopes_of("operator", ["ro", "do/2_*"]) == Scopes("operator", ("ro", "do/2_*"))
    assert scopes_of("viewer", None) == Scopes("viewer")
    with pytest.raises(ValueError, match="did you mean 'ro'"):
        scopes_of("operator", ["roo"])
