"""Values: what a document may hold comes back as it was, everything else is refused, and equality and order are
those of an independent model."""

from __future__ import annotations

import enum
import random
import struct
import sys
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import oracle_values as oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tourlog import connect
from tourlog.errors import DocumentError, TourlogError
from tourlog.values import (
    MAX_DEPTH,
    check,
    decode,
    encode,
    equal,
    identity,
    kind,
    less,
    less_or_equal,
    ordered_bytes,
    plain,
    sort_key,
)

NAN = float("nan")
INF = float("inf")
D = Decimal
BERLIN = ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2.5)
    NOTHING = None
    NESTED = ({"deep": [b"x", {D("1.0")}]},)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Mark(enum.StrEnum):
    LONE = "\ud800"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


# What a document may hold.

ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))),
    st.builds(timezone, st.integers(-23, 23).map(lambda hours: timedelta(hours=hours)), st.text(max_size=5)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC", "Etc/GMT+5"]).map(ZoneInfo),
)
DECIMALS = st.one_of(
    st.decimals(),
    st.sampled_from(
        [
            *map(D, ("NaN", "-NaN", "sNaN", "-sNaN12", "NaN345", "Infinity", "-Infinity", "0", "-0", "0E+5", "-0E-7")),
            *map(
                D,
                ("1E+999999999999999999", "-1E-999999999999999999", "1.000", "100", "1E+2", "-12345678901234567890.5"),
            ),
        ]
    ),
)
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, NAN, -NAN, INF, -INF, 5e-324, 1.7976931348623157e308, 2.0**53])
INTEGERS = st.one_of(
    st.integers(),
    st.sampled_from([-(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**53 + 1]),
    st.builds(pow, st.sampled_from([2, 10, -7]), st.sampled_from([70, 1001, 4200])),
)
STRINGS = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(), max_size=4),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=4),
    st.sampled_from(["", "\0", "a\0b", "\ud800", "x\udfffy", "é", "e\u0301", "\U0001f600", ":key", "x" * 300]),
)
DATETIMES = st.one_of(
    st.builds(datetime.replace, st.datetimes(), tzinfo=ZONES, fold=st.integers(0, 1)),
    st.builds(datetime.replace, st.sampled_from([datetime.min, datetime.max]), tzinfo=ZONES),
    st.builds(
        datetime, st.just(2025), st.just(10), st.just(26), st.just(2), st.just(30), tzinfo=ZONES, fold=st.integers(0, 1)
    ),
)
TIMES = st.builds(time.replace, st.times(), tzinfo=ZONES, fold=st.integers(0, 1))
TIMEDELTAS = st.timedeltas() | st.sampled_from([timedelta.min, timedelta.max, timedelta(0), timedelta(microseconds=-1)])
ENUMS = st.sampled_from([*Colour, *Level, *Mark, Mode.READ, Mode.READ | Mode.WRITE])
SCALARS = st.one_of(
    *(st.none(), st.booleans(), INTEGERS, FLOATS, STRINGS, st.binary(max_size=6), DECIMALS, st.uuids()),
    *(DATETIMES, st.dates(), TIMES, TIMEDELTAS),
)
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(["a", "b", "a.b", ".", "", "a b", "\0", '"', "\\", "é", "?x", ":k", "_", "f0", "db", "db.id"]),
)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


HASHABLE = st.recursive(
    SCALARS.filter(_is_hashable),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    SCALARS | ENUMS | st.sets(HASHABLE, max_size=3) | st.frozensets(HASHABLE, max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS.filter(lambda key: key not in ("k", "offset") and not key.startswith("db/")), VALUES)


def by_value(value: Any) -> Any:
    """The value with every Enum member replaced by its value."""
    if isinstance(value, enum.Enum):
        return by_value(value.value)
    if type(value) is dict:
        return {key: by_value(item) for key, item in value.items()}
    return type(value)(map(by_value, value)) if type(value) in (list, tuple, set, frozenset) else value


def exact(value: Any) -> Any:
    """A description that two values share exactly when nothing tells them apart: type, bits, zone, order."""
    name = type(value).__name__
    if type(value) in (list, tuple):
        return name, [exact(item) for item in value]
    if type(value) in (set, frozenset):
        return name, sorted((exact(item) for item in value), key=repr)
    if type(value) is dict:
        return name, [(exact(key), exact(item)) for key, item in value.items()]
    if type(value) is float:
        return name, struct.pack(">d", value)
    if type(value) in (datetime, time):
        zone = value.tzinfo
        told = (value.utcoffset(), value.tzname(), type(zone).__name__, getattr(zone, "key", None))
        return name, value.replace(tzinfo=None), value.fold, told
    return name, repr(value) if type(value) is not int else value


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    return reduce(lambda inner, _: wrap(inner), range(levels), 1)


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "frozenset": lambda inner: frozenset((inner,)),
    "dict": lambda inner: {"a": inner},
}


@given(VALUES)
@example({"a": [(1, {2, (D("-0"), Mark.LONE)}), D("sNaN")]})
@example(Colour.NESTED)
def test_a_value_decodes_exactly_as_it_was_encoded(value: Any) -> None:
    assert exact(decode(encode(value))) == exact(by_value(value))


@pytest.mark.parametrize("value", [10**5000, -(10**5000), 2**200_000 - 1], ids=["long", "negative", "very long"])
def test_integers_of_any_size_are_kept(value: int) -> None:
    with connect() as conn:
        conn.append([{"k": "x", "a": [value], "b": (value, {value})}], "k")
        conn.transact([{"db/id": value, "a": value}])
        assert conn.db().documents({"k": "x"})[0]["b"] == (value, {value})
        assert conn.db().entity(value) == {"db/id": value, "a": value}


@given(VALUES)
def test_a_plain_copy_is_exact_and_shares_no_container(value: Any) -> None:
    copy = plain(value)
    assert exact(copy) == exact(by_value(value))
    assert type(copy) not in (list, set, dict) or copy is not value


@given(VALUES)
def test_encoding_does_not_change_what_it_encodes(value: Any) -> None:
    before = exact(value)
    encode(value)
    assert exact(value) == before


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
@settings(max_examples=100)
def test_documents_come_back_exact_from_memory(documents: list[dict[str, Any]]) -> None:
    with connect() as conn:
        stored = [{**document, "k": "x"} for document in documents]
        conn.append(stored, "k")
        conn.transact([{"db/id": place, **document} for place, document in enumerate(documents)])
        assert_stored(conn, stored, documents)


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
@settings(max_examples=50)
def test_documents_come_back_exact_from_a_file_opened_again(documents: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.tour"
        stored = [{**document, "k": "x"} for document in documents]
        with connect(path, durability="normal") as conn:
            conn.append(stored, "k")
            conn.transact([{"db/id": place, **document} for place, document in enumerate(documents)])
            assert_stored(conn, stored, documents)
        with connect(path, read_only=True) as conn:
            assert_stored(conn, stored, documents)


def assert_stored(conn: Any, appended: list[dict[str, Any]], transacted: list[dict[str, Any]]) -> None:
    database = conn.db()
    found = database.documents({"k": "x"})
    assert [exact(without_place(each)) for each in found] == [exact(by_value(each)) for each in appended]
    assert [exact(without_place(database.entity(each["db/id"]))) for each in found] == [
        exact(by_value(each)) for each in appended
    ]
    for place, document in enumerate(transacted):
        expected = {"db/id": place, **by_value(document)}
        assert exact(database.entity(place)) == (exact(expected) if document else exact(None))


def without_place(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("db/id", "offset")}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_containers_nest_as_deep_as_promised(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    document = {"a": nested(MAX_DEPTH - 1, wrap)}
    with connect(tmp_path / "store") as conn:
        conn.append([{"k": "x", **document}], "k")
        conn.transact([{"db/id": 1, **document}])
        conn.transact([("db/add", 2, "a", document["a"])])
    with connect(tmp_path / "store") as conn:
        assert [d["a"] for d in conn.db().documents({"k": "x"})] == [document["a"]]
        assert conn.db().entity(1) == {"db/id": 1, **document}


# What it may not.


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Exact(Decimal):
    pass


class Moment(datetime):
    pass


class Map(dict):  # type: ignore[type-arg]
    pass


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1 if moment is None else moment.hour)

    def dst(self, moment: datetime | None) -> timedelta:  # noqa: ARG002
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:  # noqa: ARG002
        return "odd"


class Broken(enum.Enum):
    COMPLEX = 1 + 2j
    OBJECT = object()


class Array:
    """What a number of a numeric library looks like."""

    dtype, shape = "int64", ()

    def __array__(self) -> Any:
        return self

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def keyless_zone() -> ZoneInfo:
    with Path("/usr/share/zoneinfo/Europe/Berlin").open("rb") as file:
        return ZoneInfo.from_file(file)


def numbered_zone() -> ZoneInfo:
    with Path("/usr/share/zoneinfo/Europe/Berlin").open("rb") as file:
        return ZoneInfo.from_file(file, key=5)  # type: ignore[arg-type]


def list_cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def dict_cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    return cycle


Point = namedtuple("Point", "x y")

UNSUPPORTED: dict[str, Any] = {
    **{"str subclass": Text("a"), "int subclass": Whole(1), "float subclass": Real(1), "Decimal subclass": Exact(1)},
    **{
        "dict subclass": Map(a=1),
        "OrderedDict": OrderedDict(a=1),
        "defaultdict": defaultdict(int),
        "UserDict": UserDict(),
    },
    **{"datetime subclass": Moment(2026, 1, 1), "namedtuple": Point(1, 2), "list subclass": type("L", (list,), {})()},
    **{"bytearray": bytearray(b"a"), "memoryview": memoryview(b"a"), "complex": 2j, "Fraction": Fraction(1, 3)},
    **{
        "object": object(),
        "function": len,
        "lambda": lambda: 1,
        "class": int,
        "range": range(3),
        "generator": iter([1]),
    },
    **{"array": Array(), "ellipsis": ..., "NotImplemented": NotImplemented, "exception": ValueError("x")},
    **{"odd zone": datetime(2026, 1, 1, tzinfo=OddZone()), "odd time": time(1, tzinfo=OddZone())},
    **{"Enum of complex": Broken.COMPLEX, "Enum of object": Broken.OBJECT},
    **{
        "dict key": {1: 2},
        "bytes key": {b"a": 1},
        "None key": {None: 1},
        "Enum key": {Mark.LONE: 1},
        "tuple key": {(): 1},
    },
    **{"lone surrogate in a key": {"\ud800": 1}, "str subclass as key": {Text("a"): 1}},
}
if Path("/usr/share/zoneinfo/Europe/Berlin").exists():
    UNSUPPORTED |= {
        "zone without key": datetime(2026, 1, 1, tzinfo=keyless_zone()),
        "zone with a number for a key": datetime(2026, 1, 1, tzinfo=numbered_zone()),
    }
ENDLESS: dict[str, Any] = {
    **{"list cycle": list_cycle(), "dict cycle": dict_cycle()},
    **{f"{name} nested 100,000 times": nested(100_000, wrap) for name, wrap in WRAPPERS.items() if name != "frozenset"},
    **{f"{name} nested once too often": nested(MAX_DEPTH + 1, wrap) for name, wrap in WRAPPERS.items()},
}


@pytest.mark.parametrize("value", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_a_document_cannot_hold_is_refused_with_its_path_and_nothing_is_written(value: Any) -> None:
    assert_refused({"items": [0, 1, 2, value]}, "value.items[3]")
    assert_refused(({"a.b": (value,)},), "value[0].a.b[0]")
    assert_refused(value, "value")


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_cycles_and_endless_nesting_are_refused_and_nothing_is_written(value: Any) -> None:
    assert_refused(value, None)


@pytest.mark.parametrize(
    "value", [frozenset({2j}), {(1, 2j)}, {len}, {frozenset({object})}, {Text("a")}, {Colour.NESTED}, {Broken.OBJECT}]
)
def test_an_unsupported_element_of_a_set_is_refused(value: Any) -> None:
    assert_refused(value, None)


def assert_refused(value: Any, path: str | None) -> None:
    """Every way to write refuses the value, names its path, and leaves the store as it was and usable."""
    with connect() as conn:
        conn.append([{"k": "x", "value": "before"}], "k")
        conn.transact([{"db/id": 1, "value": "before"}])
        attempts: dict[str, Callable[[], Any]] = {
            "append": lambda: conn.append([{"k": "x"}, {"k": "x", "value": value}], "k"),
            "transact": lambda: conn.transact([{"db/id": 2, "a": 1}, {"db/id": 1, "value": value}]),
            "add": lambda: conn.transact([{"db/id": 2, "a": 1}, ("db/add", 1, "value", value)]),
            "cas": lambda: conn.transact([{"db/id": 2, "a": 1}, ("db/cas", 1, "value", "before", value)]),
        }
        for name, attempt in attempts.items():
            with pytest.raises(DocumentError) as error:
                attempt()
            if path is not None:
                assert (name, error.value.path) == (name, path)  # type: ignore[attr-defined]
                assert f" at {path}" in str(error.value)
        database = conn.db()
        assert database.t == 2
        assert [document["value"] for document in database.documents({"k": "x"})] == ["before"]
        assert (database.entity(1), database.entity(2)) == ({"db/id": 1, "value": "before"}, None)
        conn.append([{"k": "x", "value": "after"}], "k")
        assert [document["value"] for document in conn.db().documents({"k": "x"})] == ["before", "after"]


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_document_counts_among_the_levels_it_may_nest(wrap: Callable[[Any], Any]) -> None:
    check({"a": nested(MAX_DEPTH - 1, wrap)})
    with pytest.raises(DocumentError, match=f"at most {MAX_DEPTH} nested levels"):
        check({"a": nested(MAX_DEPTH, wrap)})


@pytest.mark.parametrize("document", [Map(a=1), OrderedDict(), [], "a", None, 1, {"a"}, {1: 2}, {Text("a"): 1}])
def test_a_document_is_a_dict_with_string_keys(document: Any) -> None:
    with pytest.raises(DocumentError):
        check(document)
    with connect() as conn:
        with pytest.raises(TourlogError):
            conn.append([document], "k")
        assert conn.db().t == 0


@pytest.mark.parametrize("value", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_the_encoder_refuses_on_its_own_what_it_could_not_read_back(value: Any) -> None:
    for form in (value, [value], (value,), {"a": value}):
        with pytest.raises(DocumentError):
            encode(form)


# Equality and order.


def _variants(number: int) -> list[Any]:
    """Numbers of all types at and around an integer."""
    near = [number - 1, number, number + 1]
    floats = [float(each) for each in near if abs(each) < 2**1000]
    return [*near, *floats, *map(D, near), *map(D, floats), D(number) + D("0.5"), D(number).scaleb(3) / 1000]


CLOSE_NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**53, -(2**53), 2**63, 2**64, 10**22, 10**40]).flatmap(
        lambda number: st.sampled_from(_variants(number))
    ),
    st.builds(
        lambda exponent, place: _variants(-(2**exponent))[place],
        st.sampled_from([999, 1999, 2001, 9000]),
        st.integers(0, 6),
    ),
)
COLLIDING = st.one_of(
    CLOSE_NUMBERS,
    st.sampled_from(
        [True, False, None, "", "a", "a\0", "a\0b", "\0", b"", b"a", b"\0", b"\0\xff", b"\xff", "True", "1"]
    ),
    st.sampled_from([NAN, D("NaN"), D("sNaN"), INF, D("Infinity"), -INF, -0.0, D("-0"), D("0E+9"), 0.1, D("0.1")]),
    st.sampled_from([D("1E+999999999999999999"), D("-1E+999999999999999999"), D("1E-999999999999999999")]),
    st.sampled_from(
        [UUID(int=0), UUID(int=2**128 - 1), date.min, date.max, timedelta.min, timedelta.max, timedelta(0)]
    ),
    st.sampled_from([datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]),
    st.sampled_from([datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]),
    st.sampled_from([datetime(2025, 10, 26, 2, 30, fold=fold) for fold in (0, 1)]),
    st.builds(datetime.replace, st.sampled_from([datetime.min, datetime.max]), tzinfo=ZONES),
    st.builds(time, st.sampled_from([0, 1, 23]), tzinfo=ZONES, fold=st.integers(0, 1)),
    SCALARS,
)
HASHABLE_COLLIDING = st.recursive(
    COLLIDING.filter(_is_hashable),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=3,
)
COMPARED = st.recursive(
    COLLIDING | st.sets(HASHABLE_COLLIDING, max_size=2),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["", "a", "a\0", "b", "ab"]), inner, max_size=2),
    ),
    max_leaves=4,
)


@given(COMPARED, COMPARED)
@settings(max_examples=1000)
@example(2**53 + 1, 2.0**53)
@example(True, 1)
@example(D("0.1"), 0.1)
@example([True], [1])
@example({"a": 1}, {"a": 1.0})
@example({1}, frozenset({1.0}))
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example(-1, D("-1.5"))
def test_equality_and_order_are_the_models(a: Any, b: Any) -> None:
    is_equal = oracle.equal(a, b)
    assert equal(a, b) is is_equal
    assert (identity(a) == identity(b)) is is_equal
    assert not is_equal or hash(identity(a)) == hash(identity(b))
    assert (ordered_bytes(a) == ordered_bytes(b)) is is_equal
    assert less(a, b) is oracle.less(a, b)
    assert less_or_equal(a, b) is oracle.less_or_equal(a, b)
    assert (kind(a) == kind(b)) is (oracle.kind(a) == oracle.kind(b))


@given(st.lists(COMPARED, max_size=8))
@settings(max_examples=300)
def test_sorting_is_the_models_total_order(values: list[Any]) -> None:
    by_bytes = sorted(values, key=sort_key)
    assert list(map(oracle.key, by_bytes)) == sorted(map(oracle.key, values))


@given(COMPARED, COMPARED)
@settings(max_examples=500)
def test_no_values_bytes_begin_anothers(a: Any, b: Any) -> None:
    first, second = ordered_bytes(a), ordered_bytes(b)
    assert first == second or not (first.startswith(second) or second.startswith(first))


@given(COMPARED)
def test_a_value_equals_itself_and_what_the_store_gives_back(value: Any) -> None:
    assert equal(value, value)
    assert identity(decode(encode(value))) == identity(value)
    assert ordered_bytes(decode(encode(value))) == ordered_bytes(value)


@given(FLOATS, FLOATS, INTEGERS)
def test_numbers_compare_as_exact_fractions(a: float, b: float, n: int) -> None:
    finite = [each for each in (a, b, n) if each == each and abs(each) != INF]
    for x in finite:
        for y in finite:
            assert equal(x, y) is (Fraction(x) == Fraction(y))
            assert less(x, y) is (Fraction(x) < Fraction(y))


def test_the_order_of_kinds_is_fixed() -> None:
    ordered = [
        *(None, False, True, -INF, -1, -0.5, 0, D("0.5"), 1, INF, NAN, "", "a", "b", b"", b"\0", UUID(int=1)),
        *(date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), time(1), time(1, tzinfo=UTC)),
        *(
            timedelta(0),
            [],
            [0],
            [0, 0],
            [1],
            (),
            (0,),
            set(),
            {0},
            {0, 1},
            {1},
            {},
            {"a": 1},
            {"a": 1, "b": 1},
            {"a": 2},
        ),
    ]
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=sort_key) == ordered


@pytest.mark.parametrize("function", [identity, ordered_bytes, kind, sort_key])
@pytest.mark.parametrize("value", [2j, object(), Text("a"), bytearray(b"a"), Colour.RED])
def test_what_is_no_value_has_no_place_in_the_order(function: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(DocumentError):
        function(value)


def test_order_does_not_depend_on_how_many_digits_python_lets_be_written() -> None:
    numbers = [-(10**5000), -(10**640), 10**639, 10**640, 10**641, 10**3000, 10**5000]
    allowed = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert sorted({*numbers}, key=ordered_bytes) == numbers
    finally:
        sys.set_int_max_str_digits(allowed)
