"""Pictures where one would rather look than read: a stream's timeline, what caused what, how rules depend on each
other, a plan. The only module that knows Altair, which it imports when it draws; no graphviz is needed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import BytesIO, StringIO
from itertools import count, pairwise
from math import atan2, degrees
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from tourlog.database import Database, check_database
from tourlog.errors import ArgumentError, shown
from tourlog.html import shown_value
from tourlog.layout import Point, layered
from tourlog.query.parse import parse_rules
from tourlog.query.program import Body, Call, Disjunction, Negation, Plan, Relation
from tourlog.query.run import Explanation
from tourlog.query.syntax import And, Clause, Constant, Not, Or, Pattern, RuleCall
from tourlog.stream import ID_KEY
from tourlog.values import identity, sort_key

Node: TypeAlias = Hashable
Key: TypeAlias = Mapping[str, Any]

_TEXT_LENGTH = 72
_FONT, _FONT_SIZE = "DejaVu Sans Mono, Menlo, Consolas, monospace", 11
_CHARACTER, _LINE, _PADDING = 6.75, 15.0, 7.0
_MARGIN = 4.0
_INDENT = "\u200b\u00a0\u00a0"  # Vega trims all other spaces at the start of a line
_WIDTH = 640
_PAGE = 840
_MOST_SHRUNK = 1.5  # times wider than a page: beyond that, what is made to fit cannot be read
_LANE = 26
_ARROW = "M0 0L0.7 1.7L-0.7 1.7Z"
_FILL = {
    "main": "#fff3d6",
    "recursive": "#e3ecfb",
    "plain": "#f4f4f4",
    "leaf": "#eaf5ea",
}
_STROKE = "#8a8a8a"
_NEGATED = "#c0392b"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that shows itself in a notebook, and its `title`. `chart` is Altair's, to be changed or shown with
    tooltips."""

    chart: Any = field(repr=False)
    title: str

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        text = StringIO()
        self.chart.save(text, format="svg")
        return text.getvalue()

    def png(self, scale: float = 2.0) -> bytes:
        """The picture as a PNG file, `scale` pixels for each of the picture's."""
        data = BytesIO()
        self.chart.save(data, format="png", scale_factor=scale)
        return data.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the picture to the file `path`, which ends in `.svg` or `.png`; ArgumentError for another ending."""
        file = Path(path)
        match file.suffix.lower():
            case ".svg":
                file.write_text(self.svg(), encoding="utf-8")
            case ".png":
                file.write_bytes(self.png())
            case _:
                raise ArgumentError(f"expected a file that ends in .svg or .png, got {shown(str(path))}", path=path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002  # IPython's
        return {"image/svg+xml": _fitting(self.svg()), "text/plain": f"<Picture: {self.title}>"}


def _fitting(svg: str) -> str:
    """The picture no wider than a page: notebooks that show it as an image would cut it off."""

    def smaller(found: re.Match[str]) -> str:
        width, height = map(float, found.groups())
        return f'width="{_PAGE}" height="{height * _PAGE / width:.0f}"' if width > _PAGE else found[0]

    return re.sub(r'width="([\d.]+)" height="([\d.]+)"', smaller, svg, count=1)


# Streams.


def timeline(db: Database, *keys: Key, at: str | None = None, kind: str = "type") -> Picture:
    """Documents of `db` in order: a lane for each kind of document of a stream, or for each stream when there are
    several.

    `keys` are those of the streams, such as `{"aggregate-id": "bot-1"}`. `at` names the attribute that says when (a
    number, or a date, a datetime or its ISO 8601 text, which are shown in UTC); unless given, documents stand at their
    offsets. `kind` names the attribute that gives the colour. ArgumentError for a stream without documents, a document
    without a time, or when Altair is not installed.
    """
    check_database(db)
    if not keys:
        raise ArgumentError("expected the key of at least one stream", argument="keys")
    points = [point for key in keys for point in _points(db, key, at, kind)]
    lane = "kind" if len(keys) == 1 else "stream"
    lanes = list(dict.fromkeys(point[lane] for point in points))
    altair = _altair()
    when = "T" if any(isinstance(point["at"], str) for point in points) else "Q"
    if at is None:
        axis, scale = altair.Axis(values=_ticks(points), format=",d"), altair.Scale(zero=False, nice=False, padding=12)
    elif when == "Q":
        axis, scale = altair.Axis(tickMinStep=1, tickCount=8), altair.Scale(zero=False, padding=12)
    else:
        axis, scale = altair.Axis(), altair.Scale(type="utc", padding=12)
    chart = (
        altair.Chart(altair.Data(values=points), width=_WIDTH, height=max(2, len(lanes)) * _LANE)
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=altair.X(f"at:{when}", title=at or "offset", axis=axis, scale=scale),
            y=altair.Y(f"{lane}:N", title=None, sort=lanes),
            color=altair.Color("kind:N", title=kind, legend=None if lane == "kind" else altair.Legend()),
            tooltip=["stream:N", "offset:Q", "kind:N", f"at:{when}"],
        )
    )
    names = ", ".join(str(db.stream(key)) for key in keys)
    return Picture(chart, f"{len(points):,} documents of {names}")


def _ticks(points: Iterable[Mapping[str, Any]]) -> list[int]:
    """Offsets to mark, ten at most. Vega would mark halves, and offsets below the first."""
    last = max(point["at"] for point in points)
    step = next(step for step in (digit * 10**power for power in count() for digit in (1, 2, 5)) if last // step < 10)
    return list(range(0, last + 1, step))


def _points(db: Database, key: Key, at: str | None, kind: str) -> Iterator[dict[str, Any]]:
    documents = db.documents(key)
    name = str(db.stream(key))
    if not documents:
        raise ArgumentError(f"expected a stream with documents, got {name}", key=key)
    for document in documents:
        yield {
            "stream": name,
            "offset": document["offset"],
            "kind": shown_value(document.get(kind, "")),
            "at": document["offset"] if at is None else _moment(document, at, name),
        }


def _moment(document: Mapping[str, Any], at: str, name: str) -> int | float | str:
    """When a document says it is, as Vega reads it: a number, or ISO 8601 text in UTC."""
    value = document.get(at)
    moment = _parsed(value) if isinstance(value, str) else value
    match moment:
        case datetime():
            return f"{(moment if moment.tzinfo is None else moment.astimezone(UTC)).replace(tzinfo=None).isoformat()}Z"
        case date():
            return f"{moment.isoformat()}T00:00:00Z"
        case int() | float() if not isinstance(moment, bool):
            return moment
    raise ArgumentError(
        f"expected a time in {at} of document {document['offset']} of {name}, got {shown(value)}", value=value
    )


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# Graphs.


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of a graph: its lines of text, and one of the kinds that have a colour."""

    lines: tuple[str, ...]
    kind: str = "plain"


def causation(
    db: Database,
    start: Any,
    *,
    cause: str = "causation-id",
    id: str = ID_KEY,
    label: str = "type",
    most: int = 60,
) -> Picture:
    """What led to the document of `db` whose `id` is `start`, and what followed from it: from left to right, or from
    the top down where that would be much wider than a page.

    `cause` is the attribute of a document that names the `id` of what caused it, one or several, `label` the one that
    is written on it. The nearest `most` documents are shown. ArgumentError when there is no document `start`, or Altair
    is not installed; DocumentError for a value that no document can hold.
    """
    check_database(db)
    if type(most) is not int or most < 1:
        raise ArgumentError(f"expected at least 1 document to show, got {shown(most)}", argument="most")
    if next(db.facts(start) if id == ID_KEY else db.facts(None, id, start), None) is None:
        raise ArgumentError(f"expected the {id} of a document, got {shown(start)}", start=start)

    def neighbours(node: Any) -> list[Any]:
        return [*_causes(db, node, id, cause), *_effects(db, node, id, cause)]

    nodes, is_whole = _nearest(start, neighbours, most)
    edges = [(identity(other), key) for key, node in nodes.items() for other in _causes(db, node, id, cause)]
    boxes = {
        key: _Box(_document_lines(db, node, id, label), "main" if key == identity(start) else "plain")
        for key, node in nodes.items()
    }
    known = [(source, target, False) for source, target in edges if source in nodes]
    more = "" if is_whole else f", the nearest {most}"
    return _graph(f"what caused {shown_value(start)}, and what it caused{more}", boxes, known, is_flat=True)


def _nearest(start: Any, following: Callable[[Any], list[Any]], most: int) -> tuple[dict[Node, Any], bool]:
    """What can be reached from `start`, the nearest first, by its identity; and whether that is all."""
    found: dict[Node, Any] = {identity(start): start}
    queue = deque([start])
    while queue:
        for node in sorted(following(queue.popleft()), key=sort_key):
            if identity(node) not in found:
                if len(found) == most:
                    return found, False
                found[identity(node)] = node
                queue.append(node)
    return found, True


def _entities(db: Database, node: Any, id: str) -> list[Any]:
    return [node] if id == ID_KEY else [fact.e for fact in db.facts(None, id, node)]


def _causes(db: Database, node: Any, id: str, cause: str) -> list[Any]:
    return [fact.v for e in _entities(db, node, id) for fact in db.facts(e, cause) if fact.v is not None]


def _effects(db: Database, node: Any, id: str, cause: str) -> list[Any]:
    caused = [fact.e for fact in db.facts(None, cause, node)]
    return caused if id == ID_KEY else [fact.v for e in caused for fact in db.facts(e, id)]


def _document_lines(db: Database, node: Any, id: str, label: str) -> tuple[str, ...]:
    name = shown_value(node)
    labels = [shown_value(fact.v) for e in _entities(db, node, id) for fact in db.facts(e, label)]
    if type(node) is UUID:
        name = f"…{name[-8:]}"
    return tuple(map(_cut, dict.fromkeys((*labels, name))))


def rule_graph(rules: Any) -> Picture:
    """How rules depend on each other and on attributes: an arrow leads from a rule to what it uses, dashed and red
    where that is negated. `rules` are `Rules`, such as `tourlog.rules("graph")`, EDN text, or Python data;
    QuerySyntaxError for others, ArgumentError when Altair is not installed."""
    parsed = parse_rules(rules)
    own = dict.fromkeys(rule.name for rule in parsed)
    heads = {rule.name: " ".join(map(str, rule.parameters)) for rule in parsed}
    uses = dict.fromkeys(
        (("rule", rule.name), used, is_negated) for rule in parsed for used, is_negated in _uses(rule.clauses, False)
    )
    boxes: dict[Node, _Box] = {("rule", name): _Box((f"({name} {heads[name]})".replace(" )", ")"),)) for name in own}
    for source, used, _ in uses:
        kind, name = used
        if source == used:
            boxes[source] = _Box((f"{boxes[source].lines[0]} ↻",), "recursive")
        boxes.setdefault(used, _Box((f":{name}" if kind == "attribute" else name,), "leaf"))
    return _graph(f"{len(own)} rules", boxes, list(uses))


def _uses(clauses: Iterable[Clause], is_negated: bool) -> Iterator[tuple[tuple[str, str], bool]]:
    """The rules and attributes that clauses use, and whether under a negation."""
    for clause in clauses:
        match clause:
            case RuleCall(name):
                yield ("rule", name), is_negated
            case Pattern(terms) if len(terms) > 1 and isinstance(terms[1], Constant):
                yield ("attribute", str(terms[1].value)), is_negated
            case Not(inner):
                yield from _uses(inner, not is_negated)
            case Or(inner) | And(inner):
                yield from _uses(inner, is_negated)


def plan_graph(plan: Explanation | Plan) -> Picture:
    """A `plan`, or what `Database.explain` gives: the answer on top, and under it the relations it is computed from,
    each with its clauses in the order in which they run. Arrows are dashed and red where a relation is negated; ↻ marks
    recursion. ArgumentError for anything else, or when Altair is not installed."""
    if not isinstance(plan, Explanation | Plan):
        raise ArgumentError(f"expected a plan, such as db.explain(query), got {shown(plan)}", argument="plan")
    found = plan.plan if isinstance(plan, Explanation) else plan
    rows = f"({' '.join(map(str, found.columns))})"
    boxes: dict[Node, _Box] = {None: _Box((f"rows{rows}", *_body_lines(found.body)), "main")}
    edges: list[tuple[Node, Node, bool]] = [(None, name, is_negated) for name, is_negated in _calls(found.body, False)]
    for stratum in reversed(found.strata):
        for relation in stratum.relations:
            kind = "recursive" if stratum.recursive else "plain"
            boxes[relation.name] = _Box(tuple(_relation_lines(relation, stratum.recursive)), kind)
            for clause in relation.clauses:
                edges += [(relation.name, name, is_negated) for name, is_negated in _calls(clause.body, False)]
    return _graph("a plan", boxes, list(dict.fromkeys(edges)))


def _relation_lines(relation: Relation, is_recursive: bool) -> Iterator[str]:
    yield f"{relation.name}{' ↻' if is_recursive else ''}"
    for clause in relation.clauses:
        yield _cut(f"({' '.join(map(str, clause.head))}) ←")
        yield from _body_lines(clause.body)


def _body_lines(body: Body) -> list[str]:
    return [_cut(f"{_INDENT}{literal}") for literal in body] or [f"{_INDENT}true"]


def _calls(body: Body, is_negated: bool) -> Iterator[tuple[str, bool]]:
    """The relations that a body calls, and whether under a negation."""
    for literal in body:
        match literal:
            case Call(relation):
                yield relation, is_negated
            case Negation(inner):
                yield from _calls(inner, not is_negated)
            case Disjunction(branches):
                for branch in branches:
                    yield from _calls(branch, is_negated)


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"


# Drawing.


def _graph(
    title: str, boxes: Mapping[Node, _Box], edges: Sequence[tuple[Node, Node, bool]], *, is_flat: bool = False
) -> Picture:
    """Boxes and arrows; flat: from left to right instead of from the top down, where a page is wide enough. The last
    of an edge says whether it is drawn as a negation."""
    sizes = {node: _size(box) for node, box in boxes.items()}
    pairs = [(a, b) for a, b, _ in edges]
    layout = layered({node: size[::-1] for node, size in sizes.items()} if is_flat else sizes, pairs)
    if is_flat and layout.height > _MOST_SHRUNK * _PAGE:
        layout, is_flat = layered(sizes, pairs), False
    extent = (layout.height, layout.width) if is_flat else (layout.width, layout.height)

    def turned(point: Point) -> Point:
        return (point[1], point[0]) if is_flat else point

    rectangles = [_rectangle(boxes[node], turned(centre), sizes[node]) for node, centre in layout.centres.items()]
    negated = {(a, b) for a, b, is_negated in edges if is_negated}
    paths = {edge: list(map(turned, path)) for edge, path in layout.paths.items()}
    lines = [
        {"edge": number, "step": step, "x": x, "y": y, "negated": edge in negated}
        for number, (edge, path) in enumerate(paths.items())
        for step, (x, y) in enumerate(path)
    ]
    heads = [_head(path, edge in negated) for edge, path in paths.items()]
    return Picture(_drawn(extent, rectangles, lines, heads), title)


def _size(box: _Box) -> tuple[float, float]:
    return max(map(len, box.lines)) * _CHARACTER + 2 * _PADDING, len(box.lines) * _LINE + 2 * _PADDING


def _rectangle(box: _Box, centre: Point, size: tuple[float, float]) -> dict[str, Any]:
    (x, y), (width, height) = centre, size
    return {
        "left": x - width / 2,
        "right": x + width / 2,
        "top": y - height / 2,
        "bottom": y + height / 2,
        "textX": x - width / 2 + _PADDING,
        "textY": y - height / 2 + _PADDING,
        "text": "\n".join(box.lines),
        "fill": _FILL[box.kind],
    }


def _head(path: Sequence[Point], is_negated: bool) -> dict[str, Any]:
    """The head of an arrow: where it points, and the direction, in degrees clockwise from straight up."""
    (x0, y0), (x1, y1) = list(pairwise(path))[-1]
    return {"x": x1, "y": y1, "angle": degrees(atan2(x1 - x0, y0 - y1)), "negated": is_negated}


def _drawn(extent: Point, rectangles: list[Any], lines: list[Any], heads: list[Any]) -> Any:
    altair = _altair()

    def place(name: str, upto: float) -> Any:
        return altair.X(f"{name}:Q", axis=None, scale=altair.Scale(domain=[-_MARGIN, upto + _MARGIN], nice=False))

    def depth(name: str, upto: float) -> Any:
        return altair.Y(f"{name}:Q", axis=None, scale=altair.Scale(domain=[upto + _MARGIN, -_MARGIN], nice=False))

    def layer(values: list[Any], x: str = "x", y: str = "y") -> Any:
        return altair.Chart(altair.Data(values=values)).encode(x=place(x, extent[0]), y=depth(y, extent[1]))

    def by_negation(plain: Any, negated: Any) -> Any:
        return altair.Scale(domain=[False, True], range=[plain, negated])

    colour = altair.Color("negated:N", scale=by_negation(_STROKE, _NEGATED), legend=None)
    dash = altair.StrokeDash("negated:N", scale=by_negation([1, 0], [5, 3]), legend=None)
    arrows = (
        layer(lines).mark_line(strokeWidth=1.2).encode(detail="edge:N", order="step:Q", color=colour, strokeDash=dash)
    )
    points = (
        layer(heads)
        .mark_point(shape=_ARROW, filled=True, size=100, opacity=1)
        .encode(angle=altair.Angle("angle:Q", scale=None), color=colour)
    )
    boxes = (
        layer(rectangles, "left", "top")
        .mark_rect(cornerRadius=4, stroke=_STROKE, strokeWidth=1)
        .encode(x2="right:Q", y2="bottom:Q", color=altair.Color("fill:N", scale=None))
    )
    style = {"align": "left", "baseline": "top", "lineBreak": "\n", "lineHeight": _LINE, "color": "#222"}
    texts = (
        layer(rectangles, "textX", "textY").mark_text(font=_FONT, fontSize=_FONT_SIZE, **style).encode(text="text:N")
    )
    width, height = (side + 2 * _MARGIN for side in extent)
    drawn = altair.layer(arrows, points, boxes, texts, width=width, height=height).resolve_scale(color="independent")
    return drawn.configure_view(stroke=None)


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise ArgumentError("expected altair to be installed: pip install 'tourlog[notebook]'") from error
    return altair
