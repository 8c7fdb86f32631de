"""What names a PostgreSQL server, and what does not."""

from __future__ import annotations

import pytest

from evok_twisted.errors import ConfigError
from evok_twisted.history.postgres import Address, address_of


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://db.lan/plant", Address("db.lan", 5432, "plant", "evok", "", "prefer", "")),
        ("postgres://", Address("localhost", 5432, "evok", "evok", "", "prefer", "")),
        (
            "postgresql://ada:a%40b@[::1]:6000/p%20q?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            Address("::1", 6000, "p q", "ada", "a@b", "verify-full", "/etc/ca.pem"),
        ),
        (
            "postgresql:///plant?host=/run/postgresql",
            Address("/run/postgresql", 5432, "plant", "evok", "", "prefer", ""),
        ),
    ],
)
def test_an_address_says_where_and_who(url, address):
    assert address_of(url) == address


def test_what_is_shown_of_it_has_no_password():
    assert str(address_of("postgresql://ada:secret@db.lan/plant")) == "postgresql://ada@db.lan:5432/plant"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://db.lan:99999/plant", "[Pp]ort"),
        ("postgresql://db.lan/plant?sslmode=maybe", "sslmode: got 'maybe', expected one of disable, prefer"),
        ("postgresql://db.lan/plant?options=x&sslmode=require", "got the options options, expected some of host"),
        ("postgresql://[::1/plant", "expected postgresql://USER@HOST"),
    ],
)
def test_what_is_wrong_with_it_is_told(url, why):
    with pytest.raises(ConfigError, match=why):
        address_of(url)
