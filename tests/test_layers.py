"""The one-way flow of the package: every module has a rank and imports only from lower ranks."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tourlog

PACKAGE = Path(tourlog.__file__).parent

# Lower lines never import from higher ones, and modules of one line never from each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "collector",
        "engines.interrupts",
        "entry.pytest_tourlog",
        "errors",
        "query.place",
        "layout",
        "query.deadline",
        "storage.log",
        "storage.verification",
        "terminal",
    ),
    (
        "encoding",
        "engines.worker",
        "query.guard",
        "query.moments",
        "query.writer",
        "rule_files",
        "storage.batches",
        "storage.checkpoints",
        "storage.common",
        "storage.compression",
        "storage.overlay",
        "storage.room",
        "watch",
    ),
    (
        "html",
        "query.arithmetic",
        "storage.memory",
        "storage.writer",
        "values",
    ),
    (
        "engines.codec",
        "engines.table",
        "facts",
        "frames",
        "progress",
        "query.large",
        "query.syntax",
        "query.text",
        "storage.sqlite_file",
        "stream",
        "tables",
    ),
    ("query.containers",),
    (
        "answers",
        "documents",
        "engines.arrow",
        "engines.comparing",
        "engines.select",
        "engines.tokens",
        "fact_index",
        "query.destructure",
        "query.forms",
        "query.functions",
        "query.program",
        "query.rows",
        "storage.lookups",
        "storage.rows",
    ),
    (
        "engines.reading",
        "query.aggregates",
        "query.arrange",
        "query.edn",
        "query.normalise",
        "query.parse_terms",
        "query.slices",
        "query.stated",
        "snapshot",
        "storage.compaction",
        "storage.tail",
        "storage.verify",
    ),
    (
        "conflicts",
        "draft",
        "engines.columns",
        "engines.execution",
        "engines.pydatalog_program",
        "pull",
        "query.generate",
        "query.linear",
        "query.parse_clauses",
        "query.parse_pull",
        "query.relations",
        "storage.backup",
        "storage.sqlite",
    ),
    (
        "engines.computing",
        "engines.ordered",
        "engines.typing",
        "keeping",
        "past",
        "presence",
        "query.check",
        "query.parse_find",
        "query.plan",
        "storage",
        "tails",
        "transaction",
    ),
    (
        "engines.choice",
        "engines.resolvers",
        "engines.session",
        "query.parse_sections",
    ),
    (
        "engines.pydatalog",
        "engines.scans",
        "engines.sqlaggregates",
        "query.parse",
    ),
    ("engines.bodies",),
    ("engines.compiled",),
    (
        "query.reads",
        "query.run",
    ),
    ("questions",),
    (
        "difference",
        "invariants",
    ),
    ("database",),
    (
        "arguments",
        "combining",
        "conditions",
        "consumers",
        "listeners",
        "order",
        "pictures",
    ),
    (
        "plain_appends",
        "subscription",
    ),
    ("connection",),
    (
        "aio",
        "event_store",
        "export",
        "integrations.eventsourcing_store",
        "json_lines",
        "stream_import",
    ),
    (
        "csv_files",
        "decider",
        "integrations.cloudevents",
        "integrations.eventsourcing_dcb",
        "integrations.eventsourcing_sequence",
        "integrations.parquet",
        "log_store",
        "notebook",
        "projection",
    ),
    (
        "demo",
        "extension",
        "integrations.eventsourcing",
        "pytest_plugin",
    ),
    (
        "",
        "cli_common",
        "shell",
    ),
    (
        "cli_files",
        "cli_keeping",
        "cli_past",
        "cli_query",
        "cli_store",
        "cli_streams",
    ),
    ("cli",),
    ("__main__",),
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

# Heavy packages: where each may be imported, which may be inside a function there.
HEAVY = {
    "ctypes": {"storage.sqlite_file"},
    "apsw": {
        "cli_keeping",
        "storage.backup",
        "storage.checkpoints",
        "storage.compaction",
        "storage.lookups",
        "storage.sqlite",
        "storage.sqlite_file",
        "storage.tail",
        "storage.verify",
        "storage.writer",
    },
    "lz4": {"storage.compression"},
    "hashlib": {"consumers", "storage.rows", "stream"},
    "lark": {"query.edn"},
    "pyDatalog": {"engines.pydatalog", "engines.pydatalog_program"},
    "eventsourcing": {
        "integrations.eventsourcing",
        "integrations.eventsourcing_dcb",
        "integrations.eventsourcing_sequence",
        "integrations.eventsourcing_store",
    },
    "duckdb": {"engines.columns", "engines.compiled"},
    "nanoarrow": {"engines.arrow"},
    "re2": {"query.text"},
    "concurrent": {"aio"},
    "difflib": {"integrations.eventsourcing", "pytest_plugin", "query.functions"},
    "logging": {"listeners"},
    "fractions": {"engines.sqlaggregates", "query.aggregates"},
    "html": {"html"},
    "random": {"query.aggregates"},
    "zoneinfo": {"encoding", "values"},
    "pytest": {"entry.pytest_tourlog", "pytest_plugin"},
    "pandas": {"frames", "query.rows"},
    "polars": {"frames", "query.rows"},
    "pyarrow": {"frames", "integrations.parquet", "query.rows"},
    "IPython": {"notebook", "progress"},
    "altair": {"pictures"},
    "rich": {"demo", "tables", "terminal"},
    "typer": {"cli", "cli_common", "cli_files", "cli_keeping", "cli_past", "cli_query", "cli_store", "cli_streams"},
}

# Modules of this package that are imported when first needed, because of what they import: where they may be.
LAZY = {
    "pull": {"questions"},
    "query.parse": {"questions"},
    "query.reads": {"questions"},
    "query.run": {"questions"},
    "query.stated": {"questions"},
    "query.syntax": {"questions"},
    "notebook": {"extension"},
    "terminal": {"progress"},
    "storage.backup": {"keeping"},
    "storage.sqlite": {"storage"},
    "storage.verify": {"keeping"},
    "engines.compiled": {"query.run"},
    "engines.pydatalog": {"query.run"},
}


@dataclass(frozen=True)
class Import:
    module: str
    target: str
    line: int
    in_function: bool

    def __str__(self) -> str:
        return f"{self.module or 'tourlog'} line {self.line} imports {self.target}"

    @property
    def inside(self) -> str | None:
        """The module of this package that is imported; None for one of another package."""
        package, _, module = self.target.partition(".")
        return module if package == "tourlog" else None

    @property
    def package(self) -> str:
        return self.target.partition(".")[0]


def modules(folder: Path = PACKAGE) -> dict[str, Path]:
    """Module name without `tourlog.` to file. Empty `__init__.py` files of subpackages are no modules."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        if is_package and len(parts) > 1 and not path.read_text(encoding="utf-8").strip():
            continue
        found[".".join(parts[:-1] if is_package else parts)] = path
    return found


def imports_of(module: str, source: str, known: set[str]) -> Iterator[Import]:
    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, in_function)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: a relative import"
            for alias in node.names:
                # `from tourlog.query import plan` names a module; `from tourlog.errors import X` does not.
                whole = f"{node.module}.{alias.name}"
                target = whole if whole.removeprefix("tourlog.") in known else str(node.module)
                yield Import(module, target, node.lineno, in_function)
        within = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, within)

    return visit(ast.parse(source), False)


def problems(sources: dict[str, str]) -> list[str]:
    """Every violation in the given modules, as readable lines."""
    found = [f"{module} has no rank: add it to LAYERS" for module in sources if module not in RANK]
    for module in sources.keys() & RANK.keys():
        for item in imports_of(module, sources[module], set(sources)):
            inside = item.inside
            if inside is not None and RANK.get(inside, len(LAYERS)) >= RANK[module]:
                found.append(f"{item}, which is not of a lower rank")
            elif item.package in HEAVY and module not in HEAVY[item.package]:
                found.append(f"{item}, which only {sorted(HEAVY[item.package])} may")
            elif item.in_function and item.package not in HEAVY and module not in LAZY.get(inside or "", ()):
                found.append(f"{item} inside a function")
    return sorted(found)


def test_every_module_imports_only_from_lower_ranks() -> None:
    sources = {module: path.read_text(encoding="utf-8") for module, path in modules().items()}
    assert problems(sources) == []


def test_the_ranks_name_only_modules_that_exist() -> None:
    assert set(RANK) - set(modules()) == set()


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("values", "import tourlog.database", "values line 1 imports tourlog.database, which is not"),
        ("values", "from tourlog import database", "values line 1 imports tourlog.database, which is not"),
        ("values", "from tourlog import q", "values line 1 imports tourlog, which is not"),
        ("values", "from tourlog.values import kind", "values line 1 imports tourlog.values, which is not"),
        ("event_store", "import tourlog.log_store", "event_store line 1 imports tourlog.log_store, which"),
        ("values", "if True:\n    import tourlog.facts", "values line 2 imports tourlog.facts, which is not"),
        ("values", "def f():\n    import tourlog.errors", "values line 2 imports tourlog.errors inside a"),
        ("event_store", "def f():\n    import tourlog.values", "event_store line 2 imports tourlog.values inside a"),
        ("values", "def f():\n    import json", "values line 2 imports json inside a function"),
        (
            "values",
            "import apsw",
            f"values line 1 imports apsw, which only {sorted(HEAVY['apsw'])} may",
        ),
        ("newcomer", "", "newcomer has no rank"),
    ],
)
def test_a_violation_is_found(module: str, source: str, problem: str) -> None:
    names = {"errors", "values", "database", "log_store", "event_store", "facts"}
    sources = dict.fromkeys(names, "") | {module: source}
    assert [line[: len(problem)] for line in problems(sources)] == [problem]


def test_what_is_allowed_is_not_reported() -> None:
    sources = {
        "errors": "",
        "values": "import json\nfrom tourlog.errors import ArgumentError",
        "storage.sqlite": "def connect():\n    import apsw",
        "": "from tourlog.values import kind",
    }
    assert problems(sources) == []


def test_importing_tourlog_imports_nothing_heavy() -> None:
    """Heavy packages are imported by what first needs them, so that `import tourlog` stays instant."""
    program = "import sys, tourlog; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    found = {*loaded, *(name.partition(".")[0] for name in loaded)}
    assert found & {*HEAVY, *(f"tourlog.{name}" for name in LAZY), "pandas", "numpy", "IPython"} == set()
