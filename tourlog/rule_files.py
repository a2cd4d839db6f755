"""Finds the rule libraries: inside an installed package, or in `rules/` of a checkout. Knows nothing of
what the text of a library means.
"""

from __future__ import annotations

import os

from tourlog.errors import ArgumentError, shown

_SUFFIX = ".edn"

TEMPLATES = frozenset({"order"})
"""Libraries with places left to fill in."""


def rule_file_names() -> list[str]:
    """The names of the libraries there are, sorted."""
    return sorted(name.removesuffix(_SUFFIX) for name in os.listdir(_folder()) if name.endswith(_SUFFIX))  # noqa: PTH208


def read_rule_file(name: str) -> str:
    """The text of the library `name`; an `ArgumentError` naming the known ones when there is none.

    >>> read_rule_file("../secrets")
    Traceback (most recent call last):
        ...
    tourlog.errors.ArgumentError: expected the name of a rule library (...), got '../secrets'
    """
    known = rule_file_names()
    if name not in known:
        expected = f"the name of a rule library ({', '.join(known)})"
        raise ArgumentError(f"expected {expected}, got {shown(name)}", name=name, known=known)
    with open(os.path.join(_folder(), name + _SUFFIX), encoding="utf-8") as file:  # noqa: PTH118, PTH123
        return file.read()


def is_library_name(given: object) -> bool:
    """Whether what is given for rules is meant as the name of a library: text that cannot be rules."""
    return isinstance(given, str) and bool(given) and not any(mark in given for mark in "[]( \n")


def read_rule_library(name: str) -> str:
    """The text of the library `name`, to be used as it is; an `ArgumentError` for a template, too.

    >>> read_rule_library("order")
    Traceback (most recent call last):
        ...
    tourlog.errors.ArgumentError: the rules of order depend on a key: make them with gen_rules, as gen_rules("topic")
    """
    text = read_rule_file(name)
    if name in TEMPLATES:
        raise ArgumentError(
            f'the rules of {name} depend on a key: make them with gen_rules, as gen_rules("topic")', name=name
        )
    return text


def _folder() -> str:
    # Neither by importlib.resources nor by pathlib, which import a fourth of what `import tourlog` does.
    package = os.path.dirname(__file__)  # noqa: PTH120
    shipped = os.path.join(package, "rules")  # noqa: PTH118
    # Only a checkout lacks the shipped folder, and only there may a `rules` beside the package be ours.
    return shipped if os.path.isdir(shipped) else os.path.join(package, os.pardir, "rules")  # noqa: PTH112, PTH118
