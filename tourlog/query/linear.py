"""Transitive rules made linear: `(r ?x ?y)` that composes two calls of itself asks for one of them only in its
base, which gives the same relation with far fewer derivations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tourlog.query.normalise import Rules, rule_calls
from tourlog.query.syntax import Clause, Rule, RuleCall, Variable

_BASE = " base"
"""What the name of a base rule ends with; no rule that was written can have a space in its name."""


def made_linear(rules: Rules, components: Mapping[str, frozenset[str]]) -> dict[str, tuple[Rule, ...]]:
    """The rules with every `r(x, y) <- r(x, z), r(z, y)` made `r(x, y) <- r(x, z), base(z, y)`, where the other
    bodies of `r`, which do not recurse, are the base. The least fixpoint is the same: both are the transitive
    closure of the base. `components` are the rules each rule recurses with."""
    changed = dict(rules)
    for name, component in components.items():
        bases = tuple(rule for rule in rules[name] if not _is_composition(rule))
        compositions = len(rules[name]) - len(bases)
        if compositions == 1 and bases and not any(rule.required or _calls(rule, component) for rule in bases):
            changed.update(_linear(name, bases))
    return changed


def _is_composition(rule: Rule) -> bool:
    """Whether a rule says `r(x, y) <- r(x, z), r(z, y)`, its clauses in either order."""
    if len(rule.parameters) != 2 or len(rule.clauses) != 2 or rule.required:
        return False
    x, y = rule.parameters
    calls = [clause for clause in rule.clauses if isinstance(clause, RuleCall)]
    if any(call.name != rule.name or call.source.name != "$" for call in calls):
        return False
    pairs = {call.arguments for call in calls if len(call.arguments) == 2}
    middle = {term for pair in pairs for term in pair if term not in (x, y)}
    return x != y and len(middle) == 1 and all(isinstance(z, Variable) and pairs == {(x, z), (z, y)} for z in middle)


def _calls(rule: Rule, names: frozenset[str]) -> bool:
    return any(call.name in names for call, _ in rule_calls(rule.clauses))


def _linear(name: str, bases: tuple[Rule, ...]) -> dict[str, tuple[Rule, ...]]:
    base = f"{name}{_BASE}"
    x, y = bases[0].parameters
    z = Variable(f"{x.name} through")
    own: list[tuple[Clause, ...]] = [
        (RuleCall(base, (x, y)),),
        (RuleCall(name, (x, z)), RuleCall(base, (z, y))),
    ]
    return {
        base: tuple(replace(rule, name=base) for rule in bases),
        name: tuple(replace(bases[0], clauses=clauses) for clauses in own),
    }
