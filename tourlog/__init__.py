"""tourlog: an embedded event store and log store with a real Datalog engine inside."""

from tourlog import event_store, log_store
from tourlog.connection import Connection, connect
from tourlog.consumers import Consumer
from tourlog.database import Database, TxReport, pydatalog_program, q
from tourlog.difference import FactDifference, RowDifference
from tourlog.errors import (
    ArgumentError,
    BudgetError,
    ConditionError,
    ConflictError,
    DocumentError,
    InvariantError,
    LongReadWarning,
    QueryError,
    QuerySyntaxError,
    StorageError,
    TourlogError,
    TransactionError,
    UnknownOutcomeError,
)
from tourlog.extension import load_ipython_extension, unload_ipython_extension
from tourlog.facts import Fact
from tourlog.invariants import Invariant
from tourlog.keeping import Finding, Verification, backup, verify
from tourlog.order import append, post_query_transform
from tourlog.past import EntityVersion, PastTransaction
from tourlog.query.generate import Rules, gen_datalog, gen_rules, rules
from tourlog.query.rows import Rows
from tourlog.stream import Stream
from tourlog.subscription import Position, Subscription
from tourlog.transaction import call

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "BudgetError",
    "ConditionError",
    "ConflictError",
    "Connection",
    "Consumer",
    "Database",
    "DocumentError",
    "EntityVersion",
    "Fact",
    "FactDifference",
    "Finding",
    "Invariant",
    "InvariantError",
    "LongReadWarning",
    "PastTransaction",
    "Position",
    "QueryError",
    "QuerySyntaxError",
    "RowDifference",
    "Rows",
    "Rules",
    "StorageError",
    "Stream",
    "Subscription",
    "TourlogError",
    "TransactionError",
    "TxReport",
    "UnknownOutcomeError",
    "Verification",
    "append",
    "backup",
    "call",
    "connect",
    "event_store",
    "gen_datalog",
    "gen_rules",
    "load_ipython_extension",
    "log_store",
    "post_query_transform",
    "pydatalog_program",
    "q",
    "rules",
    "unload_ipython_extension",
    "verify",
]
