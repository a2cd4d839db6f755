"""Layouts of any graph: no box over another, every edge leads on, nothing lost."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tourlog.layout import Layout, layered

NODES = st.integers(0, 9)
GRAPHS = st.tuples(
    st.dictionaries(NODES, st.tuples(st.integers(1, 90), st.integers(1, 40)), min_size=1),
    st.lists(st.tuples(NODES, NODES)),
).map(lambda graph: (graph[0], [edge for edge in graph[1] if set(edge) <= graph[0].keys()]))


def overlap(layout: Layout, sizes: dict[int, tuple[int, int]], a: int, b: int) -> bool:
    """Whether two boxes cover some of the same place; less than a rounding error does not count."""
    apart = [abs(p - q) for p, q in zip(layout.centres[a], layout.centres[b], strict=True)]
    room = [(p + q) / 2 for p, q in zip(sizes[a], sizes[b], strict=True)]
    return all(distance < needed - 1e-6 for distance, needed in zip(apart, room, strict=True))


@given(GRAPHS)
def test_no_box_covers_another_and_all_lie_within_the_picture(
    graph: tuple[dict[int, tuple[int, int]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    layout = layered(sizes, edges)
    assert layout.centres.keys() == sizes.keys()
    assert not any(overlap(layout, sizes, a, b) for a, b in combinations(sizes, 2))
    for node, (x, y) in layout.centres.items():
        width, height = sizes[node]
        assert -1e-6 <= x - width / 2 <= x + width / 2 <= layout.width + 1e-6
        assert -1e-6 <= y - height / 2 <= y + height / 2 <= layout.height + 1e-6


@given(GRAPHS)
def test_every_edge_has_a_path_from_one_box_to_the_other_that_never_turns_back(
    graph: tuple[dict[int, tuple[int, int]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    layout = layered(sizes, edges)
    assert layout.paths.keys() == {(a, b) for a, b in edges if a != b}
    for (source, target), path in layout.paths.items():
        assert (path[0][0], path[-1][0]) == (layout.centres[source][0], layout.centres[target][0])
        down = [y for _, y in path]
        assert down in (sorted(down), sorted(down, reverse=True))


def test_edges_lead_down_where_there_is_no_cycle() -> None:
    layout = layered(dict.fromkeys("abcd", (10.0, 10.0)), [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")])
    assert [layout.centres[node][1] for node in "abcd"] == [5, 63, 121, 5]


def test_an_edge_that_passes_a_layer_goes_round_the_boxes_there() -> None:
    layout = layered(dict.fromkeys("abc", (40.0, 10.0)), [("a", "b"), ("b", "c"), ("a", "c")])
    (_, (x, y), _) = layout.paths["a", "c"]
    assert y == layout.centres["b"][1]
    assert abs(x - layout.centres["b"][0]) > 20


def test_a_cycle_is_laid_out_with_one_edge_leading_back() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "a")]
    layout = layered(dict.fromkeys("abc", (10.0, 10.0)), edges)
    assert [path[0][1] < path[-1][1] for path in map(layout.paths.__getitem__, edges)] == [True, True, False]


def test_a_long_chain_is_no_deep_recursion() -> None:
    layout = layered(dict.fromkeys(range(3000), (10.0, 10.0)), [(n, n + 1) for n in range(2999)])
    assert layout.height == 3000 * 10 + 2999 * 48


def test_nothing_is_laid_out_as_nothing() -> None:
    assert layered({}, []) == Layout(0.0, 0.0, {}, {})
