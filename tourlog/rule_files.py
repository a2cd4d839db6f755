"""Finds the rule libraries: inside an installed package, or in `rules/` of a checkout. Knows nothing of
what the text of a library means.
"""

from __future__ import annotations

from pathlib import Path

from tourlog.errors import ArgumentError, shown

_SUFFIX = ".edn"


def rule_file_names() -> list[str]:
    """The names of the libraries there are, sorted."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in _folder().iterdir() if entry.name.endswith(_SUFFIX))


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
    return (_folder() / (name + _SUFFIX)).read_text(encoding="utf-8")


def _folder() -> Path:
    # Not by importlib.resources, which imports a fifth of what `import tourlog` does.
    package = Path(__file__).parent
    shipped = package / "rules"
    # Only a checkout lacks the shipped folder, and only there may a `rules` beside the package be ours.
    return shipped if shipped.is_dir() else package.parent / "rules"
