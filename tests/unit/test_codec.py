"""Values must come back as what they were, and a text from a database must be harmless."""

import contextlib
import dataclasses
import enum
import importlib.util
import json
import math
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocron import kinds
from autocron.codec import CodecError, decode, decode_call, encode, encode_call, register_type

BERLIN = ZoneInfo("Europe/Berlin")
HERE = __name__


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 1)
    CRIMSON = "red"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


@dataclass
class Point:
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    name: str
    inside: Any = None


@dataclass
class Total:
    parts: list[int]
    total: int = field(init=False)
    unset: int = field(init=False)
    cents: int = 1

    def __post_init__(self) -> None:
        self.total = sum(self.parts)
        self.cents *= 100


@dataclass
class Greeting:
    text: str
    loud: InitVar[bool] = False

    def __post_init__(self, loud: bool) -> None:
        self.text = self.text.upper() if loud else self.text


@dataclass
class Needy:
    text: str
    helper: InitVar[object]


@dataclass
class Strict:
    age: int

    def __post_init__(self) -> None:
        if self.age < 0:
            raise RuntimeError("no such age")


@dataclass
class Empty:
    pass


class Outer:
    @dataclass
    class Inner:
        x: int

    hidden: Any = None


class Pair(NamedTuple):
    left: Any
    right: Any = None


Old = namedtuple("Old", "a b")


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    pass


class PairWithMethods(Pair):
    pass


@dataclass
class DictPoint(dict[str, int]):
    x: int


class PlainSubclass(Point):
    pass


class Unknown:
    pass


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


register_type(Money, lambda money: ("EUR", Decimal(money.cents)), lambda pair: Money(int(pair[1])))


def exact(value: Any) -> Any:
    """Give something that is equal for two values only if they are the same in type and content, all the way down."""
    cls = type(value)
    if cls in (list, tuple) or isinstance(value, Pair | Old):
        return cls, [exact(item) for item in value]
    if cls in (set, frozenset):
        return cls, sorted((exact(item) for item in value), key=repr)
    if cls is dict:
        return cls, [(exact(key), exact(item)) for key, item in value.items()]
    if dataclasses.is_dataclass(value):
        return cls, [(name, exact(getattr(value, name, "unset"))) for name in cls.__dataclass_fields__]
    if cls in (datetime, time):
        zone = value.tzinfo
        return cls, value.replace(tzinfo=None), value.fold, type(zone), str(zone)
    if cls in (float, complex, Decimal):
        return cls, repr(value)
    return cls, value


def assert_comes_back(value: Any) -> None:
    text = encode(value)
    assert exact(decode(text)) == exact(value)
    assert exact(decode(text.encode())) == exact(value)
    call = encode_call((value,), {"name": value})
    assert exact(decode_call(call)) == exact(((value,), {"name": value}))
    for stored in (text, call):
        assert "\0" not in stored
        assert "\\u0000" not in stored.replace("\\\\", "")
        json.loads(stored.encode())


# Round trips.

texts = st.text(st.characters(exclude_categories=[]), max_size=8)
zones = st.sampled_from([None, UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("UTC")]) | st.timedeltas(
    timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)
).map(lambda offset: timezone(offset - timedelta(microseconds=offset.microseconds)))
folds = st.integers(0, 1)


def place(value: Any, zone: tzinfo | None, fold: int) -> Any:
    return value.replace(tzinfo=zone, fold=fold)


hashables: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    texts,
    st.sampled_from(["$", "$tuple", "$x", '"$', "\\u0000", "\0", "\ud800", "\ud83d\ude00", "a\0\udcff"]),
    st.binary(max_size=8),
    st.builds(place, st.datetimes(), zones, folds),
    st.builds(place, st.times(), zones, folds),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([*Colour, *Size, *Word, Rights(0), Rights(3), Bits(0), Bits(7), ~Bits.ONE, ~Rights.READ]),
    st.from_regex(r"[a-zä./\\: ]{0,9}", fullmatch=True).flatmap(
        lambda text: st.sampled_from([Path(text), PurePosixPath(text)])
    ),
)
hashables = st.recursive(
    hashables, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
leaves = st.one_of(
    hashables,
    st.floats(),
    st.complex_numbers(),
    st.decimals(),
    st.binary(max_size=8).map(bytearray),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Frozen, name=texts, inside=inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    assert_comes_back(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -0.0,
        1.0,
        5e-324,
        1.7976931348623157e308,
        math.nan,
        math.inf,
        -math.inf,
        2**63 - 1,
        -(2**63),
        2**64,
        10**4000,
        -(10**9000),
        "",
        "\0",
        "\ud800",
        "\ud83d\ude00",
        "\\u0000",
        "ü€😀\u2028",
        {"\0": 1, "b": 2},
        {"\udcff": [1]},
        {"$tuple": [1]},
        {"$": 1, "b": 2},
        {"a": 1, "$b": 2},
        {1: "a", "1": "b", None: 3, (1, 2): {4: 5}},
        [[], {}, (), set()],
        [1.5, float("inf")],
        b"",
        bytearray(b"\x00\xff"),
        frozenset({frozenset({1})}),
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2024, 1, 1, fold=1),  # noqa: DTZ001
        datetime(1, 1, 1),  # noqa: DTZ001
        datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        datetime.min.replace(tzinfo=BERLIN),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5, seconds=3))),
        time(2, 30, tzinfo=BERLIN),
        time(2, 30, 1, 5, tzinfo=UTC, fold=1),
        date.max,
        timedelta.min,
        timedelta.max,
        Decimal("-0E+5"),
        Decimal("sNaN123"),
        Decimal("-Infinity"),
        Decimal("1." + "3" * 60),
        Fraction(10**5000, 3),
        complex(-0.0, math.nan),
        range(5, -(10**30), -3),
        UUID(int=5),
        ip_address("fe80::1%eth0"),
        ip_network("10.0.0.0/8"),
        ip_interface("::1/64"),
        ip_interface("10.1.2.3/8"),
        Path("/a/\udcff"),
        Colour.BLUE,
        Colour.CRIMSON,
        Size.LARGE,
        Word.YES,
        Rights.READ | Rights.WRITE,
        Bits(255),
        {Size.SMALL: Word.YES},
        Total([1, 2]),
        Greeting("hello", loud=True),
        Empty(),
        Outer.Inner(5),
        Old(1, (2,)),
        Pair(Pair(1), {"$x": 2}),
        Frozen(name="\0", inside=Point({1}, Colour.RED)),
        Money(250),
        {Money(1): [Money(2)]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_this_value_comes_back_as_it_was(value: Any) -> None:
    assert_comes_back(value)


def test_fields_keep_what_they_were_set_to_whatever_the_constructor_does() -> None:
    total = Total([1, 2])
    total.total = 99
    back = decode(encode(total))
    assert (back.total, back.cents) == (99, 100)


def test_a_call_keeps_positional_and_keyword_arguments_apart() -> None:
    assert decode_call(encode_call((), {})) == ((), {})
    assert decode_call(encode_call((1, (2,)), {"$a": 3, "b": {4}})) == ((1, (2,)), {"$a": 3, "b": {4}})


# The stored form. What is in the databases of users must stay readable: these may only be added to.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([None, True, 1, -2.5, "ä", {"a": []}], '[null,true,1,-2.5,"ä",{"a":[]}]'),
        ((1, "a"), '{"$tuple":[1,"a"]}'),
        ({1}, '{"$set":[1]}'),
        (frozenset({1}), '{"$frozenset":[1]}'),
        ({1: 2}, '{"$dict":[[1,2]]}'),
        ({"$a": (1,)}, '{"$dict":[["$a",{"$tuple":[1]}]]}'),
        (math.nan, '{"$float":"nan"}'),
        (10**5000, f'{{"$int":"{hex(10**5000)}"}}'),
        ("\ud800", '{"$str":"7aCA"}'),
        (b"abc", '{"$bytes":"YWJj"}'),
        (bytearray(b"abc"), '{"$bytearray":"YWJj"}'),
        (1 + 2j, '{"$complex":[1.0,2.0]}'),
        (range(3), '{"$range":[0,3,1]}'),
        (datetime(2026, 2, 1, 10, 30), '{"$datetime":"2026-02-01T10:30:00"}'),  # noqa: DTZ001
        (datetime(2026, 2, 1, 10, 30, tzinfo=UTC), '{"$datetime":"2026-02-01T10:30:00+00:00"}'),
        (
            datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
            '{"$datetime":"2026-10-25T02:30:00+01:00[Europe/Berlin][fold]"}',
        ),
        (date(2026, 2, 1), '{"$date":"2026-02-01"}'),
        (time(10, 30, tzinfo=BERLIN), '{"$time":"10:30:00[Europe/Berlin]"}'),
        (timedelta(days=1, seconds=2.5), '{"$timedelta":[1,2,500000]}'),
        (Decimal("1.50"), '{"$decimal":"1.50"}'),
        (Fraction(1, 3), '{"$fraction":[1,3]}'),
        (UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (Path("/tmp/x"), '{"$path":"/tmp/x"}'),
        (PurePosixPath("x"), '{"$pureposixpath":"x"}'),
        (ip_address("::1"), '{"$ipv6address":"::1"}'),
        (ip_network("10.0.0.0/8"), '{"$ipv4network":"10.0.0.0/8"}'),
        (Colour.RED, f'{{"${HERE}:Colour":"RED"}}'),
        (Rights(3), f'{{"${HERE}:Rights":3}}'),
        (Point(1, (2,)), f'{{"${HERE}:Point":{{"x":1,"y":{{"$tuple":[2]}}}}}}'),
        (Outer.Inner(1), f'{{"${HERE}:Outer.Inner":{{"x":1}}}}'),
        (Pair(1, 2), f'{{"${HERE}:Pair":[1,2]}}'),
        (Money(5), f'{{"${HERE}:Money":{{"$tuple":["EUR",{{"$decimal":"5"}}]}}}}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_stored_form_is_stable(value: Any, text: str) -> None:
    assert encode(value) == text
    assert exact(decode(text)) == exact(value)


def test_the_stored_form_of_a_call_is_stable() -> None:
    assert encode_call(("a@example.org", 1), {"n": (2,)}) == '[["a@example.org",1],{"n":{"$tuple":[2]}}]'


def test_white_space_does_not_matter() -> None:
    assert decode(' { "$tuple" : [ 1 ] } ') == (1,)


# What can't be stored.


def local_class() -> object:
    @dataclass
    class Local:
        x: int

    return Local(1)


def local_enum() -> object:
    return enum.Enum("LocalColour", "RED").RED  # type: ignore[attr-defined]


def shadowed() -> object:
    """An instance of a class whose name means another class by now."""
    return dataclasses.make_dataclass("Point", ["x"], namespace={"__module__": HERE})(1)


class OddZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "an object can't be stored. Pass plain data$"),
        (Unknown(), f"a {HERE}.Unknown can't be stored."),
        (Unknown(), "or known: autocron.register_type(Unknown, encode, decode)$"),
        (print, "a builtin_function_or_method can't be stored"),
        (Unknown, "a type can't be stored"),
        (iter([1]), "a list_iterator can't be stored"),
        (Text("a"), "it would come back as a plain str"),
        (Whole(1), "it would come back as a plain int"),
        (Real(1), "it would come back as a plain float"),
        (Items(), "it would come back as a plain list"),
        (OrderedDict(a=1), "it would come back as a plain dict"),
        (defaultdict(list), "plain dict). Convert it to that, or make the class known: autocron.register_type("),
        (Counter("a"), "it would come back as a plain dict"),
        (DictPoint(1), "it would come back as a plain dict"),
        (PairWithMethods(1), "it would come back as a plain tuple"),
        (PlainSubclass(1), f"a {HERE}.PlainSubclass can't be stored"),
        (Needy("a", None), "its __init__ wants 'helper', which is not a field"),
        (local_class(), "Define it at the top of its module"),
        (local_enum(), "Define it at the top of its module"),
        (shadowed(), "Define it at the top of its module"),
        (datetime(2026, 1, 1, tzinfo=OddZone()), "Use zoneinfo.ZoneInfo or an offset of whole seconds"),
        (time(1, tzinfo=timezone(timedelta(microseconds=1))), "Use zoneinfo.ZoneInfo or an offset of whole seconds"),
        (PureWindowsPath("x"), "a pathlib.PureWindowsPath can't be stored"),  # its text may mean another path
        (memoryview(b"a"), "a memoryview can't be stored"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(TypeError) as caught:
        encode(value)
    assert str(caught.value).startswith("value: ")
    assert reason in f"{caught.value}$"
    assert caught.value.__cause__ is None


def nested(value: Any) -> list[tuple[str, Any]]:
    return [
        ("", value),
        ("[1]", [0, value]),
        ("[0]", (value,)),
        ("['a']", {"a": value}),
        ("[5]", {5: value}),
        ("['$a'][0]", {"$a": [value]}),
        (".y['k'][2]", Point(1, {"k": [0, 1, value]})),
        (".inside[1]", Frozen(name="n", inside=Pair(1, value))),
    ]


@pytest.mark.parametrize(("path", "value"), nested(Unknown()))
def test_the_error_says_where_it_is(path: str, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        encode_call((0, value), {})
    assert str(caught.value).startswith(f"argument 2{path}: a ")
    with pytest.raises(TypeError) as caught:
        encode_call((), {"ok": 1, "user": value})
    assert str(caught.value).startswith(f"argument 'user'{path}: a ")
    with pytest.raises(TypeError) as caught:
        encode(value, "the return value")
    assert str(caught.value).startswith(f"the return value{path}: a ")


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    point = Point(1)
    point.y = point
    for value in (ring, mapping, point):
        with pytest.raises(TypeError, match="contains itself") as caught:
            encode(value)
        assert len(str(caught.value)) < 200


# Depth.

WRAPPERS: list[Callable[[Any], Any]] = [
    lambda value: [value],
    lambda value: (value,),
    lambda value: {"a": value},
    lambda value: {1: value},
    lambda value: {"\ud800": value},
    Point,
    Pair,
    lambda value: [0, {"a": (value,)}],
]


def deepest(wrap: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Give the deepest value of this kind that is accepted, and the one that is not any more."""
    value: Any = 1
    while True:
        deeper = wrap(value)
        try:
            encode(deeper)
        except TypeError:
            return value, deeper
        value = deeper


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_whatever_is_accepted_can_be_read_again(wrap: Callable[[Any], Any]) -> None:
    value, deeper = deepest(wrap)
    assert encode(decode(encode(value))) == encode(value)
    with pytest.raises(TypeError, match="nested too deeply"):
        encode_call((deeper,), {})
    inside: Any = 1
    while True:
        try:
            text = encode_call((inside,), {})
        except TypeError:
            return
        decode_call(text)
        inside = wrap(inside)


def test_two_hundred_levels_of_json_are_accepted_both_ways() -> None:
    text = "[" * 200 + "]" * 200
    value = decode(text)
    assert encode(value) == text
    with pytest.raises(TypeError, match="nested too deeply"):
        encode([value])
    with pytest.raises(CodecError, match="nested too deeply"):
        decode(f"[[[{text}]]]")


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, '{"$tuple":[' * 10**5, "[" * 900 + "]" * 900])
def test_a_text_that_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(CodecError):
        decode(text)


def at_depth(frames: int, call: Callable[[], Any]) -> Any:
    return call() if frames == 0 else at_depth(frames - 1, call)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_half_of_the_stack_may_be_in_use_already(wrap: Callable[[Any], Any]) -> None:
    value, _ = deepest(wrap)
    text = encode(value)
    half = sys.getrecursionlimit() // 2 - 100
    assert at_depth(half, lambda: encode(value)) == text
    assert encode(at_depth(half, lambda: decode(text))) == text


def used_up(call: Callable[[], Any]) -> list[BaseException]:
    """Call with less and less stack left; give what was raised."""
    raised: list[BaseException] = []
    for frames in range(sys.getrecursionlimit() - 500, sys.getrecursionlimit() - 120, 20):
        try:
            at_depth(frames, call)
        except (TypeError, CodecError) as error:
            raised.append(error)
    return raised


def test_a_stack_that_ends_gives_the_usual_errors() -> None:
    value, _ = deepest(WRAPPERS[0])
    text = "[" + encode(value)[1:-1] + ',{"$tuple":[]}]'
    for errors in (
        used_up(lambda: encode(value)),
        used_up(lambda: encode_call((value[0],), {})),
        used_up(lambda: decode(text)),
    ):
        assert errors
        assert all("nested too deeply" in str(error) for error in errors)


# Texts that nobody here has written.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLASS_TAGS = [f"${HERE}:{name}" for name in ("Colour", "Size", "Rights", "Bits", "Point", "Frozen", "Total", "Strict")]
TAGS = [*kinds.BY_TAG, *CLASS_TAGS, f"${HERE}:Pair", f"${HERE}:Old", f"${HERE}:Unknown", "$", "$:", "$os:system", "$x"]
tagged = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1) | st.lists(inner, max_size=3),
    max_leaves=8,
)


def assert_value_or_codec_error(text: str | bytes) -> None:
    for read in (decode, decode_call):
        with contextlib.suppress(CodecError):
            read(text)


@given(st.binary() | st.text() | st.text(st.characters(exclude_categories=[])) | st.text('[]{}",:$1ae\\u\0 '))
def test_any_text_is_a_value_or_a_codec_error(text: str | bytes) -> None:
    assert_value_or_codec_error(text)


@given(tagged)
@settings(max_examples=500, deadline=None)
def test_any_tag_with_any_content_is_a_value_or_a_codec_error(tree: Any) -> None:
    assert_value_or_codec_error(json.dumps(tree))


@given(values, st.integers(0), st.integers(0, 5), st.text(max_size=3))
@settings(deadline=None)
def test_a_damaged_text_is_a_value_or_a_codec_error(value: Any, at: int, gone: int, new: str) -> None:
    text = encode(value)
    at %= len(text)
    assert_value_or_codec_error(text[:at] + new + text[at + gone :])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("NaN", "not JSON"),
        (b"\xff", "not JSON"),
        ('"\ud800"', "not JSON"),
        ('"\\ud800"', "not JSON"),
        ("1" * 5000, "not JSON"),
        ('{"$tupel":[]}', "tupel is no type that is stored by this version"),
        ('{"$tuple":5}', "$tuple needs a list, not a int"),
        ('{"$bytes":"?"}', "$bytes: "),
        ('{"$set":[[]]}', "$set: TypeError: unhashable"),
        ('{"$dict":[[1]]}', "$dict: "),
        ('{"$date":"2026-02-30"}', "$date: ValueError"),
        ('{"$datetime":"2026-02-01T00:00:00[Nowhere/Land]"}', "$datetime: ZoneInfoNotFoundError"),
        ('{"$datetime":"]["}', "$datetime: ValueError"),
        ('{"$fraction":[1,0]}', "$fraction: ZeroDivisionError"),
        ('{"$range":[0,1,0]}', "$range: ValueError"),
        ('{"$timedelta":[1e300]}', "$timedelta: OverflowError"),
        ('{"$decimal":"x"}', "$decimal: InvalidOperation"),
        (f'{{"${HERE}:Colour":"GREEN"}}', "KeyError: 'GREEN'"),
        (f'{{"${HERE}:Colour":5}}', "can't be made of a int"),
        (f'{{"${HERE}:Rights":4}}', "ValueError"),
        (f'{{"${HERE}:Point":{{"z":1}}}}', "Point has no field 'z' any more"),
        (f'{{"${HERE}:Point":{{}}}}', "missing 1 required positional argument: 'x'"),
        (f'{{"${HERE}:Pair":[1]}}', "Expected 2 arguments, got 1"),
        (f'{{"${HERE}:Strict":{{"age":-1}}}}', "RuntimeError: no such age"),
        (f'{{"${HERE}:Money":5}}', "TypeError"),
    ],
)
def test_the_error_gives_the_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text", ["5", "[]", "[[],{},[]]", "[{},[]]", '[[],{"$dict":[[1,2]]}]', '[{"$tuple":[]},{}]', '"[]"']
)
def test_a_value_that_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(CodecError, match="not the arguments of a call"):
        decode_call(text)


# What a name in the database can do: nothing.


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os:environ",
        "builtins:eval",
        "builtins:int",
        "subprocess:Popen",
        f"{HERE}:Unknown",
        f"{HERE}:decode",
        f"{HERE}:PlainSubclass",
        f"{HERE}:DictPoint",
        f"{HERE}:sys.exit",
        f"{HERE}:dataclasses.Field",
        f"{HERE}:Outer.hidden",
        f"{HERE}:Outer.Inner.x",
        f"{HERE}:Point.__init__",
        f"{HERE}:Point.__class__",
        f"{HERE}:",
        f"{HERE}:.Point",
        ":Point",
        ":",
        "json",
        "",
    ],
)
@pytest.mark.parametrize("content", ['"echo"', "[]", "{}", "1", '{"x":1}', "null"])
def test_only_dataclasses_enums_and_named_tuples_are_made(name: str, content: str) -> None:
    with pytest.raises(CodecError):
        decode(f'{{"${name}":{content}}}')


def test_a_class_that_only_looks_like_a_dataclass_is_not_called() -> None:
    code = (
        "import sys, types\n"
        "from autocron.codec import CodecError, decode\n"
        "assert 'this' not in sys.modules and 'antigravity' not in sys.modules\n"
        "for name in ('this:s', 'antigravity:webbrowser', 'xml.dom.minidom:Node'):\n"
        "    before = set(sys.modules)\n"
        "    try:\n"
        "        decode('{\"$%s\":{}}' % name)\n"
        "    except CodecError:\n"
        "        pass\n"
        "    else:\n"
        "        raise SystemExit('made a value')\n"
        "    if set(sys.modules) != before:\n"
        "        raise SystemExit('imported a module')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_module_that_loads_lazily_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleepy.py").write_text("raise SystemExit('it was loaded')")
    spec = importlib.util.spec_from_file_location("sleepy", tmp_path / "sleepy.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sleepy", module)
    spec.loader.exec_module(module)
    with pytest.raises(CodecError):
        decode('{"$sleepy:Thing":{}}')


def test_a_modules_own_attribute_lookup_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Helpful(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise SystemExit(f"{name} was asked for")

    for module in (Helpful("helpful"), None, object()):
        monkeypatch.setitem(sys.modules, "helpful", module)
        with pytest.raises(CodecError):
            decode('{"$helpful:Thing":{}}')


# Classes that change between storing and reading.


def test_a_field_that_is_new_gets_its_default() -> None:
    assert decode(f'{{"${HERE}:Point":{{"x":5}}}}') == Point(5, 0)


def test_a_class_is_stored_under_the_real_name_of_the_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("__main__")
    module.__file__ = __file__
    thing = dataclasses.make_dataclass("Thing", ["x"], namespace={"__module__": "__main__"})
    vars(module)["Thing"] = thing
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.delitem(sys.modules, "test_codec", raising=False)
    assert encode(thing(1)) == '{"$test_codec:Thing":{"x":1}}'
    assert decode('{"$test_codec:Thing":{"x":1}}') == thing(1)


# Registered types.


@pytest.mark.parametrize("cls", [str, int, list, dict, bool, type(None), datetime, Decimal])
def test_what_is_stored_anyway_is_not_registered(cls: type) -> None:
    with pytest.raises(TypeError, match="only other classes can be registered"):
        register_type(cls, str, str)


@pytest.fixture
def _registry() -> Iterator[None]:
    with mock.patch.dict(kinds.KINDS), mock.patch.dict(kinds.BY_TAG):
        yield


@pytest.mark.usefixtures("_registry")
def test_registering_lets_subclasses_and_local_classes_through() -> None:
    class Local:
        pass

    register_type(Text, str, Text)
    register_type(Local, lambda _: None, lambda _: Local())
    text, local = decode(encode([Text("a"), Local()]))
    assert (type(text), type(local)) == (Text, Local)


@pytest.mark.usefixtures("_registry")
def test_a_registered_way_goes_before_the_usual_one() -> None:
    register_type(Point, lambda point: [point.x, point.y], lambda pair: Point(*pair))
    assert encode(Point(1, 2)) == f'{{"${HERE}:Point":[1,2]}}'
    assert decode(encode(Point(1, 2))) == Point(1, 2)


@pytest.mark.usefixtures("_registry")
def test_a_registered_encoder_that_gives_its_own_argument_is_refused() -> None:
    register_type(Unknown, lambda value: value, lambda value: value)
    with pytest.raises(TypeError, match="nested too deeply"):
        encode(Unknown())


@pytest.mark.usefixtures("_registry")
def test_an_error_of_a_registered_encoder_is_the_callers() -> None:
    def fail(_: object) -> None:
        raise LookupError("no id yet")

    register_type(Unknown, fail, lambda _: Unknown())
    with pytest.raises(LookupError, match="no id yet"):
        encode([Unknown()])
