"""A small query on a warm database of a thousand documents: ten rows of two clauses and a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import process_time
from typing import Any

from measure import Figure, Measure, absolute, as_fast, interleaved, typical
from peers import pydatalog_alone
from run import Run, order

DOCUMENTS, ROWS, CALLS = 1_000, 10, 30
TYPE = "type-3"
PROCESSOR = ", processor"
"""Its time alone: on a busy machine, closer to what a query takes on an idle one."""

DATALOG = "[:find ?e ?n :in $ ?type :where [?e :type ?type] [?e :n ?n] [(< ?n 100)]]"
DATASCRIPT = """[:find ?e ?n :in $ ?type :where [?e "type" ?type] [?e "n" ?n] [(< ?n 100)]]"""
PYDATALOG = f"type(E, '{TYPE}') & n(E, N) & (N < 100)"
CLINGO = f'row(E, N) :- type(E, "{TYPE}"), n(E, N), N < 100. #show. #show row/2.'


def figures(run: Run) -> Iterator[Figure]:
    db = run.orders("memory", DOCUMENTS).db()
    engines = {engine: _asking(db, engine) for engine in ("pydatalog", "compiled", "auto")}
    assert {engine: len(ask()) for engine, ask in engines.items()} == dict.fromkeys(engines, ROWS)
    peers = dict(_peers(run))
    walls = {engine: typical(ask, CALLS) for engine, ask in engines.items()}
    processors = {engine + PROCESSOR: typical(ask, CALLS, process_time) for engine, ask in engines.items()}
    seconds = interleaved(walls | processors | peers, run.sizes.rounds)
    for name in walls | processors:
        yield absolute(f"small query, {name}", [taken * 1e3 for taken in seconds[name]], "ms", at_most=1)
    for name in peers:
        yield as_fast("small query, auto", name, seconds["auto"], seconds[name], None)


def _asking(db: Any, engine: str) -> Callable[[], Any]:
    return lambda: db.q(DATALOG, TYPE, engine=engine)


def _peers(run: Run) -> Iterator[tuple[str, Measure]]:
    facts = [(n + 1, name, order(n)[name]) for n in range(DOCUMENTS) for name in ("type", "n")]
    pydatalog_alone.new_knowledge_base()
    for e, name, value in facts:
        pydatalog_alone.add(name, e, value)
    assert len(pydatalog_alone.asked(PYDATALOG)) == ROWS
    yield "pyDatalog alone", typical(lambda: pydatalog_alone.asked(PYDATALOG), CALLS)
    process = run.datascript()
    if process is not None:
        process.load(facts)
        assert process.q(DATASCRIPT, TYPE)[1] == ROWS
        yield "DataScript", lambda: median(process.q(DATASCRIPT, TYPE)[0] for _ in range(CALLS))
    cozo = run.peer("cozo_db")
    if cozo is not None:
        ask = cozo.small([(n + 1, order(n)["type"], n) for n in range(DOCUMENTS)], TYPE)
        assert len(ask()) == ROWS
        yield "Cozo", typical(ask, CALLS)
    clingo = run.peer("clingo_solver")
    if clingo is not None:
        count = clingo.counter(" ".join(f"{name}({e}, {_term(value)})." for e, name, value in facts), CLINGO)
        assert count() == ROWS
        yield "clingo, from text", typical(count, 3)


def _term(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
