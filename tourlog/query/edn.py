"""Reads EDN text into forms with their places. The only module that knows the parser library; it does
not know what a query is.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from tourlog.query.deadline import pulse
from tourlog.query.forms import Form, syntax_error, value_of
from tourlog.query.place import Place
from tourlog.query.writer import MAX_NESTING, Keyword, Symbol, attribute_form, to_edn
from tourlog.values import identity

if TYPE_CHECKING:
    from lark import Lark, Token

__all__ = ["MAX_LENGTH", "MAX_NESTING", "Keyword", "Symbol", "attribute_form", "read", "read_value", "to_edn"]

MAX_LENGTH = 1_000_000
"""How many characters a text may have."""

_TOKENS_A_PULSE = 256

_NAME_CHARACTER = r"""[^\s,()\[\]{}";@^`~\\\x00-\x1f\x7f]"""

# Numbers, keywords and characters run to the next delimiter, right or wrong, so that an error names all
# of `12abc`; their makers below say what is wrong with them.
_GRAMMAR = rf"""
start: discard* form discard*
discard: "#_" discard* form
?form: SYMBOL | KEYWORD | NUMBER | SPECIAL | STRING | CHARACTER | tagged | list | vector | map | set
tagged: TAG discard* form
list: LIST (form | discard)* _LIST_END
vector: VECTOR (form | discard)* _VECTOR_END
map: MAP (form | discard)* _MAP_END
set: SET (form | discard)* _MAP_END

LIST: "("
_LIST_END: ")"
VECTOR: "["
_VECTOR_END: "]"
MAP: "{{"
SET: "#{{"
_MAP_END: "}}"
SYMBOL: /(?![0-9:#']|[+-]?\.?[0-9]){_NAME_CHARACTER}+/
KEYWORD: /:{_NAME_CHARACTER}*/
NUMBER: /[+-]?\.?[0-9]{_NAME_CHARACTER}*/
SPECIAL: /##{_NAME_CHARACTER}*/
TAG: /#[A-Za-z]{_NAME_CHARACTER}*/
STRING: /"[^"\\]*+(?:\\[\s\S][^"\\]*+)*+"/
CHARACTER: /\\\S{_NAME_CHARACTER}*/
BLANK: /[\s,]+/
COMMENT: /;[^\n\r]*/
%ignore BLANK
%ignore COMMENT
"""

_CLOSING = {"LIST": ")", "VECTOR": "]", "MAP": "}", "SET": "}"}
_NAMED_VALUES = {"true": True, "false": False, "nil": None}
_SPECIAL_VALUES = {"##NaN": float("nan"), "##Inf": float("inf"), "##-Inf": float("-inf")}
_CHARACTERS = {
    "newline": "\n",
    "space": " ",
    "tab": "\t",
    "return": "\r",
    "formfeed": "\f",
    "backspace": "\b",
}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", '"': '"', "\\": "\\"}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)N?")
_DECIMAL_POINT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?M?")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\s\S]))")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTANT = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)0*(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


def read(text: str) -> Form:
    """The one form `text` holds.

    `QuerySyntaxError`, with `line` and `column`, when it holds none, several, or no EDN; when it is longer
    than a million characters or nests more than 200 levels.

    >>> read("[?e :name #_old 1.5M]").items[2].content
    Decimal('1.5')
    """
    if len(text) > MAX_LENGTH:
        raise syntax_error(f"at most {MAX_LENGTH} characters", f"{len(text)}", "EDN text", place=Place(1, 1))
    form: Form = _parser()(text)
    return form


def read_value(text: str) -> Any:
    """The Python value of EDN text: keywords are strings, vectors lists, lists tuples, sets frozensets.

    >>> read_value('{:topic "a", :partitions [1 2]}')
    {'topic': 'a', 'partitions': [1, 2]}
    """
    return value_of(read(text), "EDN text")


@cache
def _parser() -> Any:
    """Importing and building take about 100 ms, so this waits for the first text. Parsing is thread-safe."""
    import lark

    makers = SimpleNamespace(
        start=_start,
        discard=_discard,
        tagged=_tagged,
        list=_list,
        vector=_vector,
        map=_map,
        set=_set,
        SYMBOL=_symbol,
        KEYWORD=_keyword,
        NUMBER=_number,
        SPECIAL=_special,
        STRING=_string,
        CHARACTER=_character,
    )
    # Forms are made while LALR reduces: nothing recurses, however deep the text nests.
    parser: Lark = lark.Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=makers, postlex=_Brackets())

    def parse(text: str) -> Form:
        try:
            return parser.parse(text)  # type: ignore[return-value]  # what `_start` returns
        except lark.UnexpectedToken as error:
            _refuse_token(error.token, text)
        except lark.UnexpectedCharacters as error:
            _refuse_character(error.char, Place(error.line, error.column))

    return parse


class _Brackets:
    """Between lexer and parser: brackets must match, and must not nest too deep."""

    always_accept = ()

    def process(self, tokens: Iterator[Token]) -> Iterator[Token]:
        opened: list[Token] = []
        for number, token in enumerate(tokens):
            if not number % _TOKENS_A_PULSE:
                pulse()
            if token.type in _CLOSING:
                opened.append(token)
                if len(opened) > MAX_NESTING:
                    raise syntax_error(f"at most {MAX_NESTING} nested levels", "more", "EDN text", place=_place(token))
            elif token in (")", "]", "}") and token.type != "STRING":
                if not opened or _CLOSING[opened[-1].type] != token:
                    _refuse_closing(opened, token)
                opened.pop()
            yield token
        if opened:
            _refuse_closing(opened, None)


def _refuse_closing(opened: list[Token], token: Token | None) -> NoReturn:
    if not opened:
        assert token is not None, "the end of the text is refused only for what is still open"
        raise syntax_error(f"an opening bracket before {token}", str(token), "EDN text", place=_place(token))
    got, place = ("the end of the text", _place(opened[-1])) if token is None else (str(token), _place(token))
    start = f"{opened[-1]} of {_place(opened[-1])}"
    raise syntax_error(f"{_CLOSING[opened[-1].type]} to close the {start}", got, "EDN text", place=place)


def _refuse_token(token: Token, text: str) -> NoReturn:
    if token.type == "$END":
        line, start = text.count("\n") + 1, text.rfind("\n") + 1
        raise syntax_error("a form", "the end of the text", "EDN text", place=Place(line, len(text) - start + 1))
    if token.type.endswith("_END"):
        raise syntax_error("a form", str(token), "EDN text", place=_place(token))
    raise syntax_error("one form and the end of the text", f"more: {token[:40]}", "EDN text", place=_place(token))


def _refuse_character(character: str, place: Place) -> NoReturn:
    expected, got = "a form", repr(character)
    if character == '"':
        expected, got = 'a closing " of the string that starts here', "the end of the text"
    elif character == "'":
        expected, got = "a form, which needs no quote here", "'"
    elif character == "#":
        expected = "#{, #_, #inst, #uuid, ##NaN, ##Inf or ##-Inf"
    raise syntax_error(expected, got, "EDN text", place=place)


def _place(token: Token) -> Place:
    return Place(token.line or 1, token.column or 1)


# Makers: what becomes of each rule and terminal of the grammar.


def _start(children: list[Form | None]) -> Form:
    return next(child for child in children if child is not None)


def _discard(_children: list[Any]) -> None:
    return None


def _symbol(token: Token) -> Form:
    name = str(token)
    if name in _NAMED_VALUES:
        return Form("value", _NAMED_VALUES[name], _place(token))
    return Form("symbol", name, _place(token))


def _keyword(token: Token) -> Form:
    name = token[1:]
    if not name or name[0] in ":/" or name.endswith(("/", ":")):
        raise syntax_error("a keyword such as :name or :space/name", str(token), "EDN text", place=_place(token))
    return Form("keyword", name, _place(token))


def _number(token: Token) -> Form:
    text = str(token)
    expected = "a number such as 1, -2.5, 1e9 or 1.50M"
    if _INTEGER.fullmatch(text) or _DECIMAL_POINT.fullmatch(text):
        value = _number_value(text)
        if value is not None:
            return Form("value", value, _place(token))
        expected = "a number of fewer digits (infinity is ##Inf)"
    raise syntax_error(expected, text, "EDN text", place=_place(token))


def _number_value(text: str) -> int | float | Decimal | None:
    """None when Python reads fewer digits than these, or no exponent as large."""
    try:
        if _INTEGER.fullmatch(text):
            return int(text.removesuffix("N"))
        value = Decimal(text[:-1]) if text.endswith("M") else float(text)
    except (ValueError, InvalidOperation):
        return None
    return None if value in (inf, -inf) else value


def _special(token: Token) -> Form:
    if token not in _SPECIAL_VALUES:
        raise syntax_error("##NaN, ##Inf or ##-Inf", str(token), "EDN text", place=_place(token))
    return Form("value", _SPECIAL_VALUES[token], _place(token))


def _character(token: Token) -> Form:
    name = token[1:]
    if len(name) > 1:
        code = re.fullmatch("u([0-9a-fA-F]{4})", name)
        if not code and name not in _CHARACTERS:
            raise syntax_error(
                f"a character such as \\a, \\u0041 or \\{next(iter(_CHARACTERS))}",
                str(token),
                "EDN text",
                place=_place(token),
            )
        name = chr(int(code[1], 16)) if code else _CHARACTERS[name]
    return Form("value", name, _place(token))


def _string(token: Token) -> Form:
    text = token[1:-1]
    if "\\" in text:
        text = _ESCAPE.sub(lambda escape: _unescape(escape, token), text)
        if _SURROGATE.search(text):  # two escapes may make one character; a lone one stays
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return Form("value", text, _place(token))


def _unescape(escape: re.Match[str], token: Token) -> str:
    code, character = escape.groups()
    if code:
        return chr(int(code, 16))
    if character not in _ESCAPES:
        before = token[: escape.start() + 1]
        line, column = before.count("\n"), len(before) - before.rfind("\n")
        start = _place(token)
        place = Place(start.line + line, column if line else start.column + len(before))
        raise syntax_error(r"one of the escapes \n \t \r \b \f \\ \" \uXXXX", f"\\{character}", "a string", place=place)
    return _ESCAPES[character]


def _tagged(children: list[Any]) -> Form:
    tag, form = children[0], children[-1]
    place = _place(tag)
    if tag == "#uuid":
        return Form("value", _uuid(form, place), place)
    if tag == "#inst":
        return Form("value", _instant(form, place), place)
    raise syntax_error("the tag #inst or #uuid", str(tag)[:80], "EDN text", place=place)


def _uuid(form: Form, place: Place) -> UUID:
    if form.kind == "value" and isinstance(form.content, str):
        try:
            value = UUID(form.content)
        except ValueError:
            pass
        else:
            if str(value) == form.content.lower():  # Python reads looser spellings
                return value
    raise syntax_error('#uuid "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"', f"#uuid {form}", "EDN text", place=place)


def _instant(form: Form, place: Place) -> datetime:
    """RFC 3339, of which the end may be missing; without an offset it is UTC."""
    match = _INSTANT.fullmatch(form.content) if form.kind == "value" and isinstance(form.content, str) else None
    if match:
        year, month, day, clock, offset = match.groups()
        text = f"{year}-{month or '01'}-{day or '01'}T{clock or '00:00'}{offset or ''}"
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return value if value.tzinfo else value.replace(tzinfo=UTC)
    expected = '#inst "2026-01-31T12:00:00.000001Z", down to microseconds'
    raise syntax_error(expected, f"#inst {form}", "EDN text", place=place)


def _list(children: list[Any]) -> Form:
    return Form("list", _forms(children), _place(children[0]))


def _vector(children: list[Any]) -> Form:
    return Form("vector", _forms(children), _place(children[0]))


def _set(children: list[Any]) -> Form:
    forms, keys = _forms(children), set()
    for form in forms:
        if (key := _key(form)) in keys:
            raise syntax_error("different elements", f"a second {form}", "a set", place=form.place)
        keys.add(key)
    return Form("set", forms, _place(children[0]), key=_Key(("set", frozenset(keys))))


def _map(children: list[Any]) -> Form:
    forms, keys = _forms(children), {}
    if len(forms) % 2:
        raise syntax_error(f"a value for the key {forms[-1]}", "}", "a map", place=forms[-1].place)
    pairs = tuple(zip(forms[::2], forms[1::2], strict=True))
    for form, value in pairs:
        if (key := _key(form)) in keys:
            raise syntax_error("different keys", f"a second {form}", "a map", place=form.place)
        keys[key] = _key(value)
    return Form("map", pairs, _place(children[0]), key=_Key(("map", frozenset(keys.items()))))


def _forms(children: list[Any]) -> tuple[Form, ...]:
    """What stands inside brackets, without the opening one and the discarded."""
    return tuple([child for child in children[1:] if child is not None])


class _Key:
    """A key with its hash, so that sets in sets in sets are hashed once and not once a level."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, parts: Hashable) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._hash == other._hash and self._parts == other._parts


def _key(form: Form) -> Hashable:
    """Equal for equal forms; 1 and 1.0 are equal, a keyword and a string are not."""
    if form.key is not None:
        return form.key  # type: ignore[no-any-return]  # a _Key
    if form.kind in ("list", "vector"):
        return form.kind, tuple([_key(item) for item in form.content])
    return form.kind, identity(form.content)
