"""EDN text to forms and values and back: every kind of form, every error with its place, hostile text."""

from __future__ import annotations

import math
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tourlog.errors import ArgumentError, QuerySyntaxError
from tourlog.query.edn import MAX_LENGTH, Keyword, Symbol, attribute_form, read, read_value, to_edn
from tourlog.query.forms import Form
from tourlog.values import equal

ID = UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")


def same(a: Any, b: Any) -> bool:
    """Equal and of one type, NaN included."""
    return type(a) is type(b) and equal(a, b)


# Values.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-0", 0),
        ("+5", 5),
        ("-17", -17),
        ("12N", 12),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("-0.25", -0.25),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("6.02e+23", 6.02e23),
        ("1.50M", Decimal("1.50")),
        ("3M", Decimal(3)),
        ("-1e-3M", Decimal("-0.001")),
        ("##NaN", math.nan),
        ("##Inf", math.inf),
        ("##-Inf", -math.inf),
        ('""', ""),
        ('"a b"', "a b"),
        ('"two\nlines"', "two\nlines"),
        (r'"\t\r\n\b\f\\\""', '\t\r\n\b\f\\"'),
        (r'"\u00e9\u20AC"', "é€"),
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"x\ud800y"', "x\ud800y"),
        ('"nul \0 inside"', "nul \0 inside"),
        ('"; no comment"', "; no comment"),
        (":name", "name"),
        (":order/id", "order/id"),
        (":value.type", "value.type"),
        (":a'?*+!-_<>=&$%|", "a'?*+!-_<>=&$%|"),
        (r"\a", "a"),
        (r"\newline", "\n"),
        (r"\space", " "),
        (r"\tab", "\t"),
        (r"\return", "\r"),
        (r"\u0041", "A"),
        (r"\(", "("),
        ("[]", []),
        ("[1 [2]]", [1, [2]]),
        ("(1 2)", (1, 2)),
        ("{}", {}),
        ('{:a 1 "b" [2]}', {"a": 1, "b": [2]}),
        ("#{}", frozenset()),
        ("#{1 :a}", frozenset({1, "a"})),
        ("#{[1 2] #{3}}", frozenset({(1, 2), frozenset({3})})),
        ('#uuid "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"', ID),
        ('#uuid "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"', ID),
        ('#inst "2026-11-23T12:30:05.123456Z"', datetime(2026, 11, 23, 12, 30, 5, 123456, UTC)),
        ('#inst "2026-11-23T12:30:05.120000000Z"', datetime(2026, 11, 23, 12, 30, 5, 120000, UTC)),
        (
            '#inst "2026-11-23T12:30:05+02:00"',
            datetime(2026, 11, 23, 12, 30, 5, tzinfo=timezone(timedelta(hours=2))),
        ),
        ('#inst "2026-11-23T12:30:05"', datetime(2026, 11, 23, 12, 30, 5, tzinfo=UTC)),
        ('#inst "2026-11-23"', datetime(2026, 11, 23, tzinfo=UTC)),
        ('#inst "2026"', datetime(2026, 1, 1, tzinfo=UTC)),
        ("[1,2,,3]", [1, 2, 3]),
        (",1 ,", 1),
        ("1 ; the rest is a comment ]", 1),
        ("[1 ; one\n 2]", [1, 2]),
        ("[1 ; one\r 2]", [1, 2]),
        ("[1 #_2 3]", [1, 3]),
        ("[1 #_ #_ 2 3 4]", [1, 4]),
        ("#_ [a b] 1 #_ 2", 1),
        ('[#_ #inst "2020" 1]', [1]),
        ("{:a #_ :b 1}", {"a": 1}),
        ('#uuid #_ 1 "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"', ID),
    ],
)
def test_text_reads_as_a_value(text: str, value: Any) -> None:
    assert same(read_value(text), value)


@pytest.mark.parametrize(
    "name",
    [
        "?x",
        "?o'",
        "$",
        "$a",
        "%",
        "_",
        ".",
        "...",
        "*",
        "+",
        "-",
        "/",
        "<=",
        "not=",
        "starts-with?",
        "a/b",
        "é",
    ],
)
def test_symbols(name: str) -> None:
    form = read(name)
    assert (form.kind, form.content) == ("symbol", name)


def test_symbols_keywords_and_strings_are_told_apart() -> None:
    assert [item.kind for item in read('[a :a "a" \\a]').items] == ["symbol", "keyword", "value", "value"]


def test_forms_know_their_places() -> None:
    form = read("[:find\n  {:a\n [?x]}]")
    (find, inner) = form.items
    ((key, value),) = inner.pairs
    places = [(f.place.line, f.place.column) for f in (form, find, inner, key, value) if f.place]
    assert places == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 2)]


# Errors.


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", (1, 1), "expected a form, got the end of the text"),
        ("  \n ; nothing\n", (3, 1), "expected a form, got the end of the text"),
        ("#_ 1", (1, 5), "expected a form, got the end of the text"),
        ("[1 #_]", (1, 6), "expected a form, got ]"),
        ("[#uuid]", (1, 7), "expected a form, got ]"),
        ("1 2", (1, 3), "expected one form and the end of the text, got more: 2"),
        ("[1] [2]", (1, 5), "expected one form and the end of the text, got more: ["),
        ("(1", (1, 1), "expected ) to close the ( of line 1, column 1, got the end of the text"),
        ("[\n [1 2]\n #{3", (3, 2), "expected } to close the #{ of line 3, column 2, got the end"),
        ("[\n (1]", (2, 4), "expected ) to close the ( of line 2, column 2, got ]"),
        ("1)", (1, 2), "expected an opening bracket before ), got )"),
        ('[1 "abc]', (1, 4), 'expected a closing " of the string that starts here'),
        ('"abc\\"', (1, 1), 'expected a closing " of the string that starts here'),
        (r'"ab\q"', (1, 4), r"got \q, in a string"),
        ('["a\n  b\\x"]', (2, 4), r"got \x, in a string"),
        (r'"\u12"', (1, 2), r"got \u, in a string"),
        ("[12abc]", (1, 2), "expected a number such as 1, -2.5, 1e9 or 1.50M, got 12abc"),
        ("007", (1, 1), "expected a number"),
        (".5", (1, 1), "expected a number"),
        ("-1e400", (1, 1), "expected a number of fewer digits"),
        ("1/2", (1, 1), "expected a number"),
        ("0x1F", (1, 1), "expected a number"),
        ("1.5N", (1, 1), "expected a number"),
        ("9" * 5000, (1, 1), "expected a number of fewer digits (infinity is ##Inf), got 9999999"),
        ("1e99999999999999999999M", (1, 1), "expected a number of fewer digits"),
        ("[1e400]", (1, 2), "expected a number of fewer digits (infinity is ##Inf), got 1e400"),
        ("##inf", (1, 1), "expected ##NaN, ##Inf or ##-Inf, got ##inf"),
        (r"\foo", (1, 1), r"expected a character such as"),
        ("\\", (1, 1), "expected a form"),
        (":", (1, 1), "expected a keyword such as :name"),
        ("::a", (1, 1), "expected a keyword"),
        (":a/", (1, 1), "expected a keyword"),
        ("'a", (1, 1), "expected a form, which needs no quote here, got '"),
        ("[`a]", (1, 2), "expected a form, got '`'"),
        ("@a", (1, 1), "expected a form, got '@'"),
        ('#"a.*"', (1, 1), "expected #{, #_, #inst, #uuid, ##NaN"),
        ("#(inc %)", (1, 1), "expected #{, #_, #inst, #uuid, ##NaN"),
        ("[a \0]", (1, 4), r"expected a form, got '\x00'"),
        ("#py/eval 1", (1, 1), "expected the tag #inst or #uuid, got #py/eval"),
        ('#uuid "f81d4fae"', (1, 1), "#uuid"),
        ('#uuid "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}"', (1, 1), "#uuid"),
        ("#uuid 1", (1, 1), "got #uuid 1"),
        ('#inst "20260101"', (1, 1), "#inst"),
        ('#inst "2026-13-01"', (1, 1), "#inst"),
        ('#inst "2026-01-01T00:00:00.1234567Z"', (1, 1), "down to microseconds"),
        ("#inst :now", (1, 1), "got #inst :now"),
        ("{:a}", (1, 2), "expected a value for the key :a, got }, in a map"),
        ("{:a 1 :a 2}", (1, 7), "expected different keys, got a second :a"),
        ("{1 :a 1.0 :b}", (1, 7), "expected different keys, got a second 1.0"),
        ("#{1 2 1}", (1, 7), "expected different elements, got a second 1"),
        ("#{[1 #{2}] [1 #{2.0}]}", (1, 12), "expected different elements, got a second [1 #{2.0}]"),
        ("#{{:a 1 :b 2} {:b 2 :a 1}}", (1, 15), "expected different elements"),
    ],
)
def test_what_is_no_edn_is_refused_with_its_place(text: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        read(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == place  # type: ignore[attr-defined]
    assert str(caught.value).endswith(f"line {place[0]}, column {place[1]}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("?x", (1, 1), "expected a value, got ?x"),
        ("[1 {:a b}]", (1, 8), "expected a value, got b"),
        ('{:a 1 "a" 2}', (1, 1), "expected a map whose keys differ as strings"),
        ("{1 2}", (1, 1), "expected a value a document can hold"),
        ("#{1 true}", (1, 1), "expected a set whose elements Python, too, holds for different"),
        ("#{[0] [false]}", (1, 1), "expected a set whose elements Python"),
        ('#{:a "a"}', (1, 1), "expected a set whose elements Python"),
        ("#{{:a 1}}", (1, 3), "expected no map inside a set"),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(text: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        read_value(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == place  # type: ignore[attr-defined]


# Hostile text.


def test_a_text_of_a_million_characters_is_read_and_one_more_is_not() -> None:
    text = '"' + "x" * (MAX_LENGTH - 2) + '"'
    assert read(text).content == "x" * (MAX_LENGTH - 2)
    with pytest.raises(QuerySyntaxError, match="at most 1000000 characters, got 1000001"):
        read(text + " ")


def test_two_hundred_levels_are_read_and_one_more_is_not() -> None:
    assert read("[" * 200 + "]" * 200).kind == "vector"
    with pytest.raises(QuerySyntaxError, match="at most 200 nested levels") as caught:
        read("[" * 201 + "]" * 201)
    assert caught.value.column == 201  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{" * 100_000,
        "#{" * 100_000,
        "([{" * 100_000,
        "]" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '"' + "a" * 900_000,
        '"' + "\\" * 900_001,
        '"\\' * 300_000,
        "\0" * 1_000_000,
        " " * 1_000_000,
        ";" * 1_000_000,
        "1" * 1_000_000,
        ":" * 1_000_000,
        "#" * 1_000_000,
        "'" * 1_000_000,
        "\\" * 1_000_000,
        "-" * 999_999 + "1 1",
        "1e" + "9" * 900_000,
        "1e" + "9" * 900_000 + "M",
        "#_" * 20_000,
        "#uuid " * 20_000,
        "[" + "#_ " * 10_000 + "1 " * 9_999 + "]",
    ],
    ids=lambda text: f"{text[:6]!r}-{len(text)}",
)
def test_hostile_text_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(QuerySyntaxError) as caught:
        read(text)
    assert time.process_time() - start < 3
    assert len(str(caught.value)) < 400


def test_sets_inside_sets_are_compared_once_and_not_once_a_level() -> None:
    text = "#{" * 199 + " ".join(map(str, range(20_000))) + "}" * 199
    start = time.process_time()
    form = read(text)
    assert time.process_time() - start < 3
    assert len(str(form)) == 80


def test_deep_text_is_read_on_a_small_stack() -> None:
    """Reading does not recurse, so the caller's stack does not matter."""
    limit = sys.getrecursionlimit()
    depth = len(_frames())
    sys.setrecursionlimit(depth + 80)
    try:
        assert read("[" * 200 + "]" * 200).kind == "vector"
    finally:
        sys.setrecursionlimit(limit)


def _frames() -> list[Any]:
    frame, frames = sys._getframe(), []
    while frame:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


def test_threads_read_at_the_same_time() -> None:
    texts = [f"[{n} " + "[:a ?x] " * 50 + "]" for n in range(8)]
    found: dict[int, list[int]] = {n: [] for n in range(8)}

    def work(number: int) -> None:
        for _ in range(10):
            found[number].append(read(texts[number]).items[0].content)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [n] * 10 for n in range(8)}


PIECES = st.sampled_from(
    [
        *"()[]{}#\"\\;:,'`@^~ \n",
        "#{",
        "#_",
        "##NaN",
        "#inst",
        "#uuid ",
        ":a",
        "?x",
        "1",
        "1.5",
        "-",
        "M",
        "nil",
        "e9",
        "\\u",
        "\\newline",
        "\0",
        "\ud800",
        "é",
        '"a"',
        "true",
        "_",
        "...",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join)))
@example('#inst "0000-01-01"')
@example('#inst "9999-12-31T23:59:60Z"')
@example("1e-99999999999999999999M")
def test_any_text_is_a_form_or_refused(text: str) -> None:
    try:
        form = read(text)
    except QuerySyntaxError as error:
        assert error.line >= 1 and error.column >= 1  # type: ignore[attr-defined]
    else:
        assert isinstance(form, Form)
        assert str(form)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    try:
        value = read_value(text)
    except QuerySyntaxError:
        return
    assert equal(value, value)


# Writing.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nil"),
        (True, "true"),
        (2**63, "9223372036854775808N"),
        (-(2**63), "-9223372036854775808"),
        (1e100, "1e+100"),
        (-math.inf, "##-Inf"),
        (Decimal("1.50"), "1.50M"),
        ('say "x"\n', r'"say \"x\"\n"'),
        ("\x00\ud800", r'"\u0000\ud800"'),
        ("?x", '"?x"'),
        (Symbol("?x"), "?x"),
        (Keyword("a/b"), ":a/b"),
        ([1, (2,), {Keyword("a"): {3}}], "[1 (2) {:a #{3}}]"),
        (ID, f'#uuid "{ID}"'),
        (datetime(2026, 1, 2, tzinfo=UTC), '#inst "2026-01-02T00:00:00+00:00"'),
    ],
)
def test_values_are_written(value: Any, text: str) -> None:
    assert to_edn(value) == text


@pytest.mark.parametrize(
    "value",
    [b"x", datetime(2026, 1, 2), datetime(2026, 1, 2).date(), print, Decimal("NaN"), 10**5000, [[{"a": 1j}]]],
    ids=lambda value: type(value).__name__,
)
def test_what_edn_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(ArgumentError, match="expected a"):
        to_edn(value)


def test_data_nested_without_end_is_not_written() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArgumentError, match="at most 200 nested levels"):
        to_edn(endless)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=())),
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.frozensets(st.text(max_size=5), max_size=4),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_reads_back_equal_and_of_the_same_type(value: Any) -> None:
    back = read_value(to_edn(value))
    assert same(back, value)
    if "frozenset" not in repr(value):  # which keeps no order
        assert repr(back) == repr(value)


@given(st.text(min_size=1, max_size=12))
@example("a/b")
@example("/")
@example("a/")
@example("1a")
@example("a:b")
@example("a b")
@example("_a")
@example("nil")
def test_any_attribute_is_written_so_that_it_reads_back(name: str) -> None:
    assert read_value(to_edn(attribute_form(name))) == name


@pytest.mark.parametrize("name", ["type", "aggregate-id", "db/id", "value.type", "größe", "_ref", "a?"])
def test_attributes_are_keywords_where_they_can_be(name: str) -> None:
    assert to_edn(attribute_form(name)) == f":{name}"


@pytest.mark.parametrize("name", ["", "first name", "1st", "a/b/c", "a/", "/a", ":a", "a;b", 'a"b', "a\0"])
def test_attributes_are_strings_where_they_cannot_be_keywords(name: str) -> None:
    assert to_edn(attribute_form(name)).startswith('"')
