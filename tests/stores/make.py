"""Makes a kept store of the present version, once: `python tests/stores/make.py tests/stores/version-2`. Later versions
must go on reading it, so that neither file is ever made again.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import tourlog
from tourlog.tables import jsonable

VALUES: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "small": -3,
    "large": 1 << 200,
    "float": 0.1,
    "text": "Grüße \U0001f30d",
    "surrogate": "\ud800",
    "bytes": b"\x00\xff",
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=7),
    "at": datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
    "local": datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5, minutes=30), "IST")),
    "naive": datetime(2026, 1, 31),
    "day": date(2026, 1, 31),
    "time": time(23, 59, 59, 999_999),
    "took": timedelta(days=-1, microseconds=1),
    "list": [1, [2, {"a": None}]],
    "tuple": (1, "a"),
    "set": {1, 2, 3},
    "frozenset": frozenset({"a"}),
}
STREAMS: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {
    (("topic", "orders"),): [{"topic": "orders", "n": n} for n in range(120)],
    (("topic", 1), ("part", Decimal("2.50"))): [{"topic": 1, "part": Decimal("2.50"), "n": n} for n in range(3)],
    (("kind", "values"),): [{"kind": "values", **VALUES}],
}


def write(conn: tourlog.Connection) -> None:
    """Small and large transactions, changed documents, entities, a retraction, an invariant, joined batches."""
    orders, parts, values = STREAMS.values()
    for n in range(0, 20, 2):
        conn.append(orders[n : n + 2], "topic", tx_id=f"orders {n}")
    conn.append(parts, "topic", "part")
    conn.append(values, "kind")
    conn.compact()
    conn.append(orders[20:], "topic")
    second = conn.db().documents({"topic": "orders"})[1]["db/id"]
    conn.transact([{"db/id": second, "n": "changed"}, {"db/id": "ann", "age": 30}, {"db/id": "bob", "age": 17}])
    conn.transact([["db/retract", "bob", "age", 17]], tx_id="bob is gone")
    conn.require("grown-up", "[:find ?e :where [?e :age ?n] [(< ?n 18)]]")


def answers(conn: tourlog.Connection) -> dict[str, Any]:
    """What the store says, ids and instants included, as JSON has it."""
    db = conn.db()
    found = {
        "t": db.t,
        "streams": [(name, stream.names, stream.values, count) for name, stream, count in db.streams()],
        "documents": [db.documents(stream) for _, stream, _ in db.streams()],
        "past": [
            (each.t, each.instant, each.tx_id, each.meta, [(str(k), v.start, v.stop) for k, v in each.offsets.items()])
            for each in db.tx_range()
        ],
        "ages": [sorted(db.as_of(t).q("[:find ?e ?n :where [?e :age ?n]]")) for t in range(db.t + 1)],
        "sum": list(db.q("[:find (sum ?n) (count ?d) :where [?d :topic 1] [?d :n ?n]]")),
        "entities": [db.entity("ann"), db.entity("bob")],
        "invariants": [each.name for each in db.invariants()],
    }
    return json.loads(json.dumps(jsonable(found)))  # type: ignore[no-any-return]


def main(name: str) -> None:
    path = Path(f"{name}.tour")
    if path.exists():
        raise SystemExit(f"{path} is kept as it is")
    with tourlog.connect(path) as conn:
        write(conn)
        found = answers(conn)
    Path(f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
