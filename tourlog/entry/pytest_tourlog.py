"""What pytest loads at every start where tourlog is installed: options and the names of fixtures, nothing else.

A module of its own, outside the package, because importing any module of a package imports the package: tourlog is
imported by the first fixture that is used, and what the fixtures do is in `tourlog.pytest_plugin`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from importlib import import_module
from sys import modules
from typing import Any

import pytest

PLUGIN = "tourlog.pytest_plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tourlog").addoption(
        "--tourlog-keep",
        metavar="FOLDER",
        help="keep the stores of failing tests in this folder, each as a file to open with `tourlog`",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not report.passed and PLUGIN in modules:
        modules[PLUGIN].add_logs(item, report)
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    return modules[PLUGIN].compared(op, left, right) if PLUGIN in modules else None


@pytest.fixture
def tour(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh store in memory, this test's own."""
    yield from import_module(PLUGIN).opened(request, None)


@pytest.fixture
def tour_file(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh store in the file `store.tour` of the test's `tmp_path`."""
    yield from import_module(PLUGIN).opened(request, request.getfixturevalue("tmp_path") / "store.tour")


@pytest.fixture
def tour_clock() -> Iterator[Any]:
    """Stops the clock by which stores date transactions, until `advance(seconds=1)`; makes new ids predictable."""
    yield from import_module(PLUGIN).stopped_clock()


@pytest.fixture
def decider() -> Any:
    """Whom `given(…).when(command)` asks; override it in a test module. None: a command is a function of the store."""
    return None


@pytest.fixture
def given(request: pytest.FixtureRequest, tour: Any, decider: Any) -> Iterator[Any]:
    """`given(*events).when(command).then(*events)` on the store `tour`."""
    yield from import_module(PLUGIN).scenarios(request, tour, decider)
