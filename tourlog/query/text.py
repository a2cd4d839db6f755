"""Strings: printing values, cutting and testing text, and regular expressions that cannot run away.

The only module that knows RE2, which it imports when the first pattern is compiled. Patterns are strings, in
RE2's syntax: Perl's without back-references and look-around, which is what makes its time linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite, isnan
from time import monotonic
from typing import Any
from uuid import UUID

from tourlog.errors import QueryError
from tourlog.query.deadline import pulse
from tourlog.query.moments import utc
from tourlog.values import sort_key

TEXT_LENGTH = 10_000_000
"""The most characters a string made here may have."""

PATTERN_LENGTH = 1_000
"""The most characters a pattern may have."""

MATCH_WORK = 100_000_000
"""The most a match may cost, in characters × instructions of the compiled pattern: a second at worst."""

SEQUENCE_SECONDS = 1.0
"""The longest `re_seq` may take: each match is linear, all the matches of one text need not be."""


_WORDS_A_PULSE = 1_000
_PIECE = 100_000


def concatenate(*values: Any) -> str:
    """The values as text, one after the other; None is empty, collections look as in EDN.

    >>> concatenate("a", 1, None, True, ["b", 2.0])
    'a1true["b" 2.0]'
    """
    return _bounded("".join("" if value is None else _plain_text(value) for value in values))


def printed(*values: Any) -> str:
    """The values as EDN, separated by spaces.

    >>> printed("a", {"k": {1}}, Decimal("1.5"))
    '"a" {"k" #{1}} 1.5M'
    """
    return _bounded(" ".join(map(edn_text, values)))


def displayed(*values: Any) -> str:
    """As `printed`, with strings and the like as `concatenate` shows them."""
    return _bounded(" ".join(map(_plain_text, values)))


def edn_text(value: Any) -> str:
    """A value as EDN; sets and dicts sorted, so that equal ones look alike."""
    match value:
        case None:
            return "nil"
        case str():
            for character, escaped in _ESCAPES:  # one after the other: ten times as fast as `translate`
                value = value.replace(character, escaped)
            return f'"{value}"'
        case Decimal():
            return f"{_plain_text(value)}M"
        case UUID():
            return f'#uuid "{value}"'
        case date():
            return f'#inst "{_plain_text(value)}"'
        case float() if not isfinite(value):
            return f"##{_plain_text(value).replace('inity', '')}"
        case time() | timedelta() | bytes():
            return f'"{_plain_text(value)}"'
        case _:
            return _plain_text(value)


_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def _plain_text(value: Any) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 10_000:
            raise QueryError("expected an integer of at most 10,000 bits to print", value=value)
        case float() if not isfinite(value):
            return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case date() | time():
            found: str = utc(value).isoformat()
            return found
        case bytes():
            return value.hex()
        case list() | tuple():
            return f"[{_words(value)}]"
        case set() | frozenset():
            return f"#{{{_words(sorted(value, key=sort_key))}}}"
        case dict():
            return f"{{{', '.join(f'{edn_text(key)} {edn_text(value[key])}' for key in sorted(value))}}}"
        case _:
            return str(value)


def _words(values: Iterable[Any]) -> str:
    return " ".join(_told(values))


def _told(values: Iterable[Any]) -> Iterator[str]:
    for number, value in enumerate(values):
        if not number % _WORDS_A_PULSE:
            pulse()
        yield edn_text(value)


def _bounded(text: str) -> str:
    if len(text) > TEXT_LENGTH:
        raise QueryError(f"expected a text of at most {TEXT_LENGTH} characters")
    return text


def string(value: Any) -> str:
    """The value, a string; raises `QueryError` for anything else."""
    if not isinstance(value, str):
        raise QueryError("expected a string", value=value)
    return value


def on_strings(compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute` with every argument checked to be a string."""
    return lambda *values: compute(*map(string, values))


def in_pieces(change: Callable[[str], str]) -> Callable[[str], str]:
    """`change`, of each character by itself, with a look at the time between pieces of a long text. Only the lower case
    of a capital sigma depends on what stands beside it.

    >>> in_pieces(str.upper)("ß" * 150_000) == "SS" * 150_000
    True
    """

    def changed(text: str) -> str:
        if len(text) <= _PIECE or "\u03a3" in text:
            return change(text)
        found = []
        for start in range(0, len(text), _PIECE):
            pulse()
            found.append(change(text[start : start + _PIECE]))
        return "".join(found)

    return changed


def substring(text: Any, start: Any, stop: Any = None) -> str:
    """The characters from `start` to before `stop`; both must lie within the text."""
    length = len(string(text))
    stop = length if stop is None else stop
    for place in (start, stop):
        if isinstance(place, bool) or not isinstance(place, int):
            raise QueryError("expected whole numbers for the places", value=place)
    if not 0 <= start <= stop <= length:
        raise QueryError(f"expected 0 <= start <= end <= {length}", value=(start, stop))
    return string(text)[start:stop]


def is_blank(value: Any) -> bool:
    """Whether a string holds nothing but whitespace; None is blank, as in Clojure."""
    return value is None or not string(value).strip()


def name_of(keyword: Any) -> str:
    """What follows the first slash of a keyword: `b` of `a/b`, `b` of `b`."""
    before, slash, after = string(keyword).partition("/")
    return after if slash and before and after else keyword


def namespace_of(keyword: Any) -> str | None:
    """What precedes the first slash of a keyword, None without one."""
    before, _, after = string(keyword).partition("/")
    return before if before and after else None


def keyword(*words: Any) -> str:
    """A keyword of a name, or of a namespace and a name; keywords are strings."""
    return "/".join(map(string, words))


def re_pattern(pattern: Any) -> str:
    """The pattern itself, once it is known to be one."""
    _compiled(string(pattern))
    return string(pattern)


def re_find(pattern: Any, text: Any) -> Any:
    """The first match: its text, or a list of it and its groups; None without one.

    >>> re_find("[0-9]+", "a12b"), re_find("(a)(x)?", "ba"), re_find("x", "")
    ('12', ['a', 'a', None], None)
    """
    return _found(_within_work(pattern, text).search(text))


def re_matches(pattern: Any, text: Any) -> Any:
    """As `re_find`, of the whole text only."""
    return _found(_within_work(pattern, text).fullmatch(text))


def re_seq(pattern: Any, text: Any) -> list[Any] | None:
    """All matches that do not overlap, each as `re_find` gives it; None without any."""
    end = monotonic() + SEQUENCE_SECONDS
    matches = []
    for match in _within_work(pattern, text).finditer(text):
        matches.append(_found(match))
        pulse()
        if monotonic() > end:
            raise QueryError(f"expected to find all matches within {SEQUENCE_SECONDS} s")
    return matches or None


def _found(match: Any) -> Any:
    if match is None:
        return None
    return [match.group(), *match.groups()] if match.re.groups else match.group()


def _within_work(pattern: Any, text: Any) -> Any:
    compiled = _compiled(string(pattern))
    if not string(text).isascii():
        _encodable(text)
    if compiled.programsize * len(text) > MATCH_WORK:
        raise QueryError(
            f"expected a pattern of at most {MATCH_WORK // len(text)} instructions for {len(text)} characters"
            f" of text, got {compiled.programsize}"
        )
    return compiled


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError("expected text without lone surrogates", value=text) from None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import re2  # when first needed: few queries have patterns

    if len(pattern) > PATTERN_LENGTH:
        raise QueryError(f"expected a pattern of at most {PATTERN_LENGTH} characters", value=pattern)
    _encodable(pattern)
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise QueryError(f"expected a regular expression of RE2 ({reason})", value=pattern) from error
