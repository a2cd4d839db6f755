"""Where the boxes of a directed graph go: in layers, every edge leading on, few of them crossing. Knows nothing of
what the boxes mean or how they are drawn.

The method is Sugiyama's (K. Sugiyama, S. Tagawa, M. Toda, 1981): turn round the edges that close a cycle, layer by
the longest path, give long edges a place in every layer they pass, order each layer by the mean place of its
neighbours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import TypeAlias

Node: TypeAlias = Hashable
Edge: TypeAlias = tuple[Node, Node]
Point: TypeAlias = tuple[float, float]

_GAP = 24.0
"""Between boxes of a layer."""

_LAYER_GAP = 48.0
"""Between layers."""

_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """The size of it all, the centre of every box, and for every edge the points it goes through, ends included."""

    width: float
    height: float
    centres: Mapping[Node, Point]
    paths: Mapping[Edge, tuple[Point, ...]]


def layered(sizes: Mapping[Node, tuple[float, float]], edges: Iterable[Edge]) -> Layout:
    """The boxes of these sizes (width, height) laid out from the top down, along the edges between them. An edge
    from a box to itself has no path.

    >>> found = layered({"a": (10, 10), "b": (10, 10), "c": (10, 10)}, [("a", "b"), ("a", "c")])
    >>> found.centres
    {'a': (22.0, 5.0), 'b': (5.0, 63.0), 'c': (39.0, 63.0)}
    """
    graph = _Graph(dict(sizes))
    for edge in dict.fromkeys(edges):
        graph.add(*edge)
    return graph.laid_out()


@dataclass(slots=True)
class _Graph:
    """A graph on its way to a layout. Places on long edges are nodes, too, of no size."""

    sizes: dict[Node, tuple[float, float]]
    edges: list[Edge] = field(default_factory=list)

    def add(self, source: Node, target: Node) -> None:
        if source != target:
            self.edges.append((source, target))

    def laid_out(self) -> Layout:
        forward = _without_cycles(self.sizes, self.edges)
        layer_of = _layers(self.sizes, forward)
        chains = {edge: _chain(edge, layer_of) for edge in forward}
        links = [link for chain in chains.values() for link in pairwise(chain)]
        for chain in chains.values():
            for place, node in enumerate(chain[1:-1], layer_of[chain[0]] + 1):
                self.sizes[node] = (0.0, 0.0)
                layer_of[node] = place
        layers = _ordered(layer_of, links)
        across = self._across(layers, links)
        down = self._down(layers)
        left = min((across[node] - self.sizes[node][0] / 2 for node in across), default=0.0)
        centres = {node: (across[node] - left, down[layer_of[node]]) for node in self.sizes}
        return Layout(*self._extent(centres), self._boxes(centres), self._paths(chains, centres))

    def _across(self, layers: Sequence[Sequence[Node]], links: Sequence[Edge]) -> dict[Node, float]:
        """The middle of every node along its layer: as near to its neighbours as the nodes beside it allow."""
        neighbours = _neighbours(links)
        across: dict[Node, float] = {}
        for layer in layers:
            across.update(self._packed(layer, [0.0] * len(layer)))
        for sweep in range(_SWEEPS):
            for layer in layers if sweep % 2 else reversed(layers):
                wanted = [_mean([across[other] for other in neighbours.get(node, ())], across[node]) for node in layer]
                across.update(self._packed(layer, wanted))
        return across

    def _packed(self, layer: Sequence[Node], wanted: Sequence[float]) -> dict[Node, float]:
        """Nodes side by side in their order, none over another, on the whole where they are wanted."""
        placed: list[float] = []
        for place, node in enumerate(layer):
            half = self.sizes[node][0] / 2
            nearest = placed[-1] + self.sizes[layer[place - 1]][0] / 2 + _GAP + half if placed else wanted[place]
            placed.append(max(nearest, wanted[place]))
        shift = _mean([want - got for want, got in zip(wanted, placed, strict=True)], 0.0)
        return {node: got + shift for node, got in zip(layer, placed, strict=True)}

    def _down(self, layers: Sequence[Sequence[Node]]) -> list[float]:
        """The middle of every layer."""
        down, top = [], 0.0
        for layer in layers:
            height = max(self.sizes[node][1] for node in layer)
            down.append(top + height / 2)
            top += height + _LAYER_GAP
        return down

    def _extent(self, centres: Mapping[Node, Point]) -> Point:
        right = max((x + self.sizes[node][0] / 2 for node, (x, _) in centres.items()), default=0.0)
        bottom = max((y + self.sizes[node][1] / 2 for node, (_, y) in centres.items()), default=0.0)
        return right, bottom

    def _boxes(self, centres: Mapping[Node, Point]) -> dict[Node, Point]:
        return {node: centre for node, centre in centres.items() if not isinstance(node, _Passing)}

    def _paths(self, chains: Mapping[Edge, list[Node]], centres: Mapping[Node, Point]) -> dict[Edge, tuple[Point, ...]]:
        """The way of every edge, from the border of a box to that of the next; as the edge was given."""
        paths = {}
        for edge in self.edges:
            is_turned = edge not in chains
            chain = chains[edge[::-1] if is_turned else edge]
            points = [centres[node] for node in chain]
            points[0] = (points[0][0], points[0][1] + self.sizes[chain[0]][1] / 2)
            points[-1] = (points[-1][0], points[-1][1] - self.sizes[chain[-1]][1] / 2)
            paths[edge] = tuple(reversed(points) if is_turned else points)
        return paths


@dataclass(frozen=True, slots=True)
class _Passing:
    """Where a long edge passes a layer."""

    edge: Edge
    layer: int


def _without_cycles(nodes: Iterable[Node], edges: Sequence[Edge]) -> list[Edge]:
    """The edges, those turned round that lead back to where a walk from the first node on came from."""
    following: dict[Node, list[Node]] = {}
    for source, target in edges:
        following.setdefault(source, []).append(target)
    finished: set[Node] = set()
    backward: set[Edge] = set()
    for start in nodes:
        walk = [(start, iter(following.get(start, ())))] if start not in finished else []
        on_walk = {start}
        while walk:
            node, rest = walk[-1]
            target = next(rest, None)
            if target is None:
                walk.pop()
                on_walk.discard(node)
                finished.add(node)
            elif target in on_walk:
                backward.add((node, target))
            elif target not in finished:
                on_walk.add(target)
                walk.append((target, iter(following.get(target, ()))))
    return list(dict.fromkeys(edge[::-1] if edge in backward else edge for edge in edges))


def _layers(nodes: Iterable[Node], edges: Sequence[Edge]) -> dict[Node, int]:
    """The layer of every node: after all that lead to it."""
    before: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
    layer_of: dict[Node, int] = {}
    for node in TopologicalSorter(before).static_order():
        layer_of[node] = max((layer_of[source] + 1 for source in before[node]), default=0)
    return layer_of


def _chain(edge: Edge, layer_of: Mapping[Node, int]) -> list[Node]:
    """An edge as steps of one layer each."""
    source, target = edge
    passed = [_Passing(edge, layer) for layer in range(layer_of[source] + 1, layer_of[target])]
    return [source, *passed, target]


def _ordered(layer_of: Mapping[Node, int], links: Sequence[Edge]) -> list[list[Node]]:
    """The nodes of every layer, each near the mean place of its neighbours."""
    layers: list[list[Node]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node, layer in layer_of.items():
        layers[layer].append(node)
    neighbours = _neighbours(links)
    for sweep in range(_SWEEPS):
        for each in reversed(layers) if sweep % 2 else layers:
            place = {node: float(number) for other in layers for number, node in enumerate(other)}
            each.sort(
                key=lambda node: _mean([place[other] for other in neighbours.get(node, ())], place[node])
            )  # used at once
    return layers


def _neighbours(links: Iterable[Edge]) -> dict[Node, list[Node]]:
    found: dict[Node, list[Node]] = {}
    for source, target in links:
        found.setdefault(source, []).append(target)
        found.setdefault(target, []).append(source)
    return found


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
