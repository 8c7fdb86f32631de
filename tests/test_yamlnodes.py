"""YAML as text, and what is said where it is none."""

from __future__ import annotations

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evok_twisted.errors import ConfigError
from evok_twisted.yamlnodes import read


@pytest.fixture
def load(tmp_path):
    def load_it(text):
        file = tmp_path / "some.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(file).value

    return load_it


@pytest.mark.parametrize(
    "text", ["00", "07", "1e3", "0x10", "yes", "null", "~", "1.50", "2024-02-01", "1_000", "12:30"]
)
def test_a_scalar_is_loaded_as_the_text_that_it_is(load, text):
    assert load(f"key: {text}") == {"key": text}


@pytest.mark.parametrize("text", ["'00'", '"00"', "00", "!!str 00"])
def test_quotes_make_no_difference(load, text):
    assert load(f"key: {text}") == {"key": "00"}


def test_keys_are_text_as_well(load):
    assert load("00: a\n1: b\nyes: c\n") == {"00": "a", "1": "b", "yes": "c"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "''"])
def test_a_file_with_nothing_in_it_is_an_empty_mapping(load, text):
    assert load(text) == {}


def test_a_key_without_a_value_has_empty_text(load):
    assert load("key:") == {"key": ""}


def test_mappings_and_lists_nest(load):
    assert load("a: [1, {b: 2}]\nc:\n  - d\n") == {"a": ["1", {"b": "2"}], "c": ["d"]}


def test_text_is_utf_8(load):
    assert load("unit: °C") == {"unit": "°C"}


def test_a_merge_key_brings_what_is_not_overridden(load):
    loaded = load("base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3, c: 4}\n")
    assert loaded["mine"] == {"a": "1", "b": "3", "c": "4"}


def test_merge_keys_bring_each_other_along(load):
    loaded = load("x: &x {a: 1}\nlist:\n  - &y {<<: *x, a: 2}\nmine: {<<: *y, b: 3}\n")
    assert loaded == {"x": {"a": "1"}, "list": [{"a": "2"}], "mine": {"a": "2", "b": "3"}}


def test_a_list_of_mappings_is_merged_the_first_one_first(load):
    loaded = load("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nmine:\n  <<: [*x, *y]\n")
    assert loaded["mine"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x: &x {a: 1, b: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: *y}\n", {"a": "2", "b": "1"}),
        ("x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: [*y, *x]}\n", {"a": "2"}),
        ("x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: [*x, *y]}\n", {"a": "1"}),
        ("x: &x {a: 1}\ny: &y {a: 2}\nz: {<<: *x, <<: *y, b: 3}\n", {"a": "1", "b": "3"}),
        ("z: {a: 3, <<: {a: 1, b: 2}}\n", {"a": "3", "b": "2"}),
        ("z: {'<<': {a: 1}}\n", {"<<": {"a": "1"}}),
    ],
)
def test_what_is_nearer_to_a_mapping_overrides_what_is_merged_into_it(load, text, expected):
    assert load(text)["z"] == expected


def test_what_is_merged_stands_before_what_a_mapping_has_itself(load):
    assert list(load("x: &x {a: 1}\nz: {b: 2, <<: *x}\n")["z"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1\n", "line 2, column 1"),
        ("a: b: c\n", "line 1, column 5"),
        ("a: *nowhere\n", "line 1, column 4"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1"),
        ("a: 1\n\tb: 2\n", "line 2, column 1"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(load, text, place):
    with pytest.raises(ConfigError, match=f"^{place}: ."):
        load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{[a]: 1}\n", "line 1, column 2: a mapping or a list cannot be a key, expected text"),
        ("a: !thing 1\n", "line 1, column 4: the tag '!thing' means nothing here; leave it out"),
        ("a: !!timestamp x\n", "line 1, column 4: the tag '!!timestamp' means nothing here; leave it out"),
        ("a: !!binary x\n", "line 1, column 4: the tag '!!binary' means nothing here; leave it out"),
        ("a: !!set {x}\n", "line 1, column 4: the tag '!!set' means nothing here; leave it out"),
        ("a: !!omap [x: 1]\n", "line 1, column 4: the tag '!!omap' means nothing here; leave it out"),
        ("a: !!python/name:os.system x\n", "the tag '!!python/name:os.system' means nothing here; leave it out"),
        ("!!int a: 1\n!x b: 2\n", "line 2, column 1: the tag '!x' means nothing here; leave it out"),
        ("<<: 1\n", "line 1, column 5: what a merge key (<<) brings in has to be a mapping, or a list of mappings"),
        ("a: &a [1, *a]\n", "line 1, column 4: an alias (*name) stands within what it is the name of"),
        ("a: &a {b: 1, <<: *a}\n", "line 1, column 4: an alias (*name) stands within what it is the name of"),
    ],
)
def test_what_means_nothing_here_is_told_with_its_place(load, text, message):
    with pytest.raises(ConfigError) as raised:
        load(text)
    assert message in str(raised.value)


@pytest.mark.parametrize("tag", ["!!str", "!!int", "!!float", "!!bool", "!!null"])
@pytest.mark.parametrize("text", ["00", "maybe", "''"])
def test_a_tag_of_a_scalar_makes_no_difference(load, tag, text):
    assert load(f"key: {tag} {text}") == {"key": text.strip("'")}


def test_aliases_that_multiply_are_bounded(load):
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in itertools.pairwise("abcdefghij")
    )
    with pytest.raises(ConfigError, match="has more than 100000 values"):
        load(laughs)


def test_of_a_key_that_stands_twice_the_last_counts_and_it_is_noted(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("x:\n  - {a: 1,\n     'a': 2}\n")
    document = read(file)
    assert document.value == {"x": [{"a": "2"}]}
    assert document.repeated == [("x.0.a", 3)]


def test_a_merge_key_repeats_nothing(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("x: &x {a: 1}\ny: {<<: *x, a: 2}\nz: {<<: *x, <<: *x}\n")
    assert read(file).repeated == []


def test_every_value_has_its_line(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("a:\n  b: &b\n    c: 1\n  l:\n    - 1\n    -\n      2\nm:\n  <<: *b\n  d: 1\n")
    lines = read(file).lines
    assert {path: lines[path] for path in ("", "a", "a.b", "a.b.c", "a.l.0", "a.l.1")} == {
        "": 1,
        "a": 1,
        "a.b": 2,
        "a.b.c": 3,
        "a.l.0": 5,
        "a.l.1": 7,
    }
    assert (lines["m"], lines["m.c"], lines["m.d"]) == (8, 3, 10)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_what_is_written_as_yaml_is_read_as_it_was(tmp_path_factory, value):
    file = tmp_path_factory.mktemp("yaml") / "some.yaml"
    file.write_bytes(yaml.safe_dump(value, allow_unicode=False).encode())
    assert read(file).value == (value or {})


@given(st.text(alphabet="ab:-[]{}&*!<>|'\"#,? \n", max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("yaml") / "some.yaml"
    file.write_text(text)
    try:
        read(file)
    except ConfigError as error:
        assert str(error)


def test_text_that_is_not_utf_8_is_told(load):
    with pytest.raises(ConfigError, match="^is not UTF-8 text: invalid start byte at byte 5$"):
        load(b"unit:\xb0C")


@pytest.mark.parametrize("text", ["a: \x07", "[" * 5000])
def test_what_cannot_be_yaml_at_all_is_told(load, text):
    with pytest.raises(ConfigError, match="^is not YAML: "):
        load(text)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="^cannot be read: No such file or directory$"):
        read(tmp_path / "nowhere.yaml")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="^cannot be read: Is a directory$"):
        read(tmp_path)
