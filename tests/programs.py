"""Random programs: small histories of facts, rules and a query as the text of a case.

They aim where engines go wrong: cyclic data, recursion of every kind, negation, branches, repeated variables,
values that are easily mixed up (false, 0, nil, "", 1 and 1.0), attributes that are missing, several sources.
Clauses are made in an order that works and then shuffled; a few programs are broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from casefile import CALLABLES, Case

ENTITIES = (1, 2, 3, 4, "x")
ATTRIBUTES = ("to", "a", "b")
VALUES = (0, 1, 2, 3, 1.0, 2.5, True, False, None, "", "x", "to")
VARIABLES = ("?x", "?y", "?z", "?w", "?v")
COMPARISONS = ("<", "<=", ">", ">=", "=", "not=")
TESTS = ("number?", "string?", "nil?", "some?", "true?", "false?", "pos?", "not")

Bound = frozenset[str]
Made = tuple[str, Bound]
"""A clause, and the variables that have a value after it."""


def edn(value: Any) -> str:
    """A value as query text."""
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{' '.join(map(edn, value))}]"
    return repr(value)


@dataclass(frozen=True)
class RuleShape:
    """What callers of a rule must know: its arity, how many leading arguments must be bound, and its level. A
    rule calls those of its level and below, and negates those below."""

    name: str
    arity: int
    required: int
    level: int


@dataclass
class Writer:
    """Writes the parts of one program. `plain` leaves out what a second implementation may lack."""

    random: Random
    rules: Sequence[RuleShape] = ()
    level: int = 99
    sources: Sequence[str] = ("$",)
    collections: dict[str, int] = field(default_factory=dict)
    inventing: bool = True
    plain: bool = False

    # Choices.

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, choices: Iterable[Any]) -> Any:
        return self.random.choice(sorted(choices) if isinstance(choices, frozenset) else list(choices))

    def some(self, choices: Iterable[str], most: int) -> list[str]:
        """One to `most` of the choices, distinct, in any order."""
        among = sorted(set(choices))
        return self.random.sample(among, min(len(among), self.random.randint(1, most)))

    def value(self) -> Any:
        if self.plain:
            return self.pick([v for v in VALUES if type(v) is not float and v is not None])
        return self.pick((*VALUES, *ENTITIES))

    def constant(self) -> str:
        return edn(self.value())

    def attribute(self) -> str:
        if not self.plain and self.chance(0.04):
            return str(self.pick((":zz", ":db/id", ":db/tx")))
        return f'"{self.pick(ATTRIBUTES)}"' if self.plain else f":{self.pick(ATTRIBUTES)}"

    def source(self) -> str:
        """A database to read, and the space after it; mostly the default."""
        return f"{self.pick(self.sources)} " if len(self.sources) > 1 and self.chance(0.3) else ""

    # Conjunctions.

    def body(self, given: Bound, wanted: Iterable[str], size: int, depth: int) -> tuple[list[str], Bound]:
        """Clauses that bind `wanted` when `given` are bound, and all they bind."""
        clauses: list[str] = []
        bound = given
        for _ in range(size):
            clause, bound = self.clause(bound, depth)
            clauses.append(clause)
        for variable in wanted:
            if variable not in bound:
                clause, bound = self.binder(variable, bound)
                clauses.append(clause)
        if self.chance(0.4):
            self.random.shuffle(clauses)
        return clauses, bound

    def clause(self, bound: Bound, depth: int) -> Made:
        kinds: list[tuple[float, Any]] = [(7, self.pattern)]
        if bound:
            kinds += [(1.5, self.predicate), (2, self.function)]
        if self.collections:
            kinds.append((1, self.collection_pattern))
        if any(rule.level <= self.level for rule in self.rules):
            kinds.append((3, self.rule_call))
        if depth:
            kinds += [(1, lambda known: self.disjunction(known, depth)), (1, lambda known: self.or_join(known, depth))]
            if bound:
                kinds += [(1.2, lambda known: self.negation(known, depth)), (1, lambda k: self.not_join(k, depth))]
        (make,) = self.random.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        made: Made = make(bound)
        return made

    # Clauses that read.

    def pattern(self, bound: Bound) -> Made:
        e = self.pick(VARIABLES) if self.chance(0.9) else edn(self.pick(ENTITIES[:4]))
        v = self.pick(VARIABLES) if self.chance(0.75) else self.pick((self.constant(), "_", "_"))
        a = self.attribute()
        if not self.plain and self.chance(0.08):
            a = self.pick(VARIABLES)
        terms = [e, a, v]
        if not self.plain and self.chance(0.04):
            terms.append(self.pick(VARIABLES))
        terms = terms[: 2 if self.chance(0.05) else 4]
        return f"[{self.source()}{' '.join(terms)}]", bound | {term for term in terms if term[0] == "?"}

    def binder(self, variable: str, bound: Bound) -> Made:
        """A pattern that binds one variable at least."""
        other = self.pick(bound) if bound and self.chance(0.7) else self.pick(("_", *VARIABLES))
        terms = [variable, self.attribute(), other] if self.chance(0.6) else [other, self.attribute(), variable]
        return f"[{self.source()}{' '.join(terms)}]", bound | {term for term in terms if term[0] == "?"}

    def collection_pattern(self, bound: Bound) -> Made:
        name, width = self.pick(self.collections.items())
        terms = [self.pick((*VARIABLES, *VARIABLES, "_", self.constant())) for _ in range(width)]
        terms = terms[: self.random.randint(1, width)]
        return f"[{name} {' '.join(terms)}]", bound | {term for term in terms if term[0] == "?"}

    def rule_call(self, bound: Bound, level: int | None = None) -> Made:
        callable_ = [rule for rule in self.rules if rule.level <= (self.level if level is None else level)]
        rule = self.pick(callable_)
        arguments = []
        for place in range(rule.arity):
            if place < rule.required:
                arguments.append(self.pick(bound) if bound else self.constant())
            elif self.chance(0.85):
                arguments.append(self.pick(VARIABLES))
            else:
                arguments.append(self.pick((edn(self.pick(ENTITIES[:4])), self.constant(), "_")))
        source = self.source()
        call = f"({source}{rule.name} {' '.join(arguments)})"
        return call, bound | {term for term in arguments if term[0] == "?"}

    # Clauses that compute.

    def predicate(self, bound: Bound) -> Made:
        argument = self.pick(bound)
        other = self.pick(bound) if self.chance(0.5) else self.constant()
        if self.chance(0.2):
            return f"[({self.pick(TESTS)} {argument})]", bound
        if self.chance(0.15):
            return f"[(missing? {self.source() or '$ '}{argument} {self.attribute()})]", bound
        if not self.plain and self.chance(0.1):
            return f"[(even? {argument})]", bound
        function = self.pick(("=", "not=") if self.plain else COMPARISONS)
        arguments = [argument, other] if self.chance(0.7) else [other, argument]
        return f"[({function} {' '.join(arguments)})]", bound

    def function(self, bound: Bound) -> Made:
        one, two, out, second = self.pick(bound), self.pick(bound), self.pick(VARIABLES), self.pick(VARIABLES)
        some = '"a" "b"' if self.plain else ":a :b"
        kinds = [
            (f"[(identity {one}) {out}]", [out]),
            (f"[(ground {self.constant()}) {out}]", [out]),
            (f"[(get-else {self.source() or '$ '}{one} {self.attribute()} 7) {out}]", [out]),
            (f"[(get-some {self.source() or '$ '}{one} {some}) [{out} {second}]]", [out, second]),
            (f"[(ground {edn([self.value() for _ in range(3)])}) [{out} ...]]", [out]),
            (f"[(ground {edn([[self.value(), self.value()] for _ in range(2)])}) [[{out} {second}]]]", [out, second]),
        ]
        if not self.plain:
            kinds.append((f"[({self.pick(('min', 'max'))} {one} {two}) {out}]", [out]))
        if self.inventing:
            kinds.append((f"[(vector {one} {two}) [{out} {second}]]", [out, second]))
            if not self.plain:
                kinds.append((f"[({self.pick('+-*')} {one} {two}) {out}]", [out]))
                kinds.append((f"[(inc {one}) {out}]", [out]))
        text, variables = self.pick(kinds)
        return text, bound.union(variables)

    # Clauses of clauses.

    def negation(self, bound: Bound, depth: int) -> Made:
        shared = frozenset(self.some(bound, 2))
        inner, _ = self._lower().body(shared, (), self.random.randint(1, 2), depth - 1)
        if not any(variable in clause for variable in shared for clause in inner):
            inner.append(f"[{self.pick(shared)} {self.attribute()} _]")
        return f"(not {' '.join(inner)})", bound

    def not_join(self, bound: Bound, depth: int) -> Made:
        shared = self.some(bound, 2)
        inner, _ = self._lower().body(frozenset(shared), (), self.random.randint(1, 2), depth - 1)
        joined = [variable for variable in shared if any(variable in clause for clause in inner)]
        if not joined:
            joined = shared[:1]
            inner.append(f"[{joined[0]} {self.attribute()} _]")
        return f"(not-join [{' '.join(joined)}] {' '.join(inner)})", bound

    def disjunction(self, bound: Bound, depth: int) -> Made:
        """Every branch uses the same variables, as `or` asks."""
        one, two = self.random.sample(VARIABLES, 2)
        branches = []
        for _ in range(self.random.randint(2, 3)):
            branch = [f"[{self.source()}{one} {self.attribute()} {two}]"]
            if self.chance(0.4):
                branch = [
                    f"[{one} {self.attribute()} _]",
                    f"[{self.source()}{two} {self.attribute()} {self.constant()}]",
                ]
            if self.chance(0.3):
                branch.append(self.predicate(frozenset((one, two)))[0])
            elif depth > 1 and self.chance(0.3):
                branch.append(self.negation(frozenset((one, two)), depth - 1)[0])
            branches.append(f"(and {' '.join(branch)})" if len(branch) > 1 else branch[0])
        return f"(or {' '.join(branches)})", bound | {one, two}

    def or_join(self, bound: Bound, depth: int) -> Made:
        joined = self.some(VARIABLES, 2)
        known = frozenset(joined) & bound
        branches = []
        for _ in range(self.random.randint(1, 3)):
            inner, _ = self.body(
                known if self.chance(0.3) else frozenset(), joined, self.random.randint(0, 2), depth - 1
            )
            branches.append(f"(and {' '.join(inner)})" if inner else f"[{joined[0]} _ _]")
        return f"(or-join [{' '.join(joined)}] {' '.join(branches)})", bound.union(joined)

    def _lower(self) -> Writer:
        """A writer of what stands inside a negation: only rules below may be called."""
        level = self.level if self.chance(0.02) else self.level - 1
        return Writer(self.random, self.rules, level, self.sources, self.collections, self.inventing, self.plain)


def write_rules(random: Random, sources: Sequence[str], plain: bool) -> tuple[list[RuleShape], list[str]]:
    """A few rules and their texts; recursive ones invent no values, so that every program ends."""
    shapes = [
        RuleShape(f"r{i}", random.choice((1, 2, 2, 2, 3)), int(not plain and random.random() < 0.08), i // 2)
        for i in range(random.randint(0, 4))
    ]
    texts = []
    for shape in shapes:
        writer = Writer(random, shapes, shape.level, sources, inventing=False, plain=plain)
        parameters = random.sample(VARIABLES, shape.arity)
        for _ in range(random.randint(1, 3)):
            given = frozenset(parameters[: shape.required] if random.random() < 0.9 else parameters[:1])
            clauses, _ = writer.body(given, parameters, random.choice((0, 1, 1, 2)), 1)
            required = f"[{parameters[0]}] " if shape.required else ""
            head = f"{required}{' '.join(parameters[shape.required :])}"
            texts.append(f"[({shape.name} {head.strip()}) {' '.join(clauses)}]")
    return shapes, texts


def write_transactions(random: Random, plain: bool) -> list[list[Any]]:
    """A history: upserts and additions, values of their own and references, and here and there a retraction."""
    writer = Writer(random, plain=plain)
    entities = ENTITIES[:4] if plain else ENTITIES
    operations: list[Any] = []
    for _ in range(random.randint(1, 8)):
        e = random.choice(entities)
        document: dict[str, Any] = {"db/id": e}
        for attribute in random.sample(ATTRIBUTES, random.randint(1, 3)):
            # Few values, so that facts join: references, and what is near to an entity's id or a truth value.
            values = entities if attribute == "to" or random.random() < 0.4 else (writer.value(), writer.value())
            many = random.random() < 0.4
            document[attribute] = [random.choice(values), random.choice(values)] if many else random.choice(values)
        operations.append(document)
        if random.random() < 0.15:
            operations.append(("db/retract", random.choice(entities), random.choice(ATTRIBUTES)))
        if random.random() < 0.08:
            operations.append(("db/retract-entity", random.choice(entities)))
        if random.random() < 0.15:
            operations.append(("db/add", e, random.choice(ATTRIBUTES), writer.value()))
    cut = random.randint(0, len(operations))
    return [part for part in (operations[:cut], operations[cut:]) if part]


def write_inputs(writer: Writer) -> tuple[list[str], list[Any], Bound]:
    """Inputs beside sources and rules: their declarations, their values, the variables they bind."""
    names = writer.random.sample(VARIABLES, 2)
    value = writer.value
    kinds = [
        (names[:1], names[0], value()),
        (names[:1], f"[{names[0]} ...]", [value() for _ in range(writer.random.randint(0, 4))]),
        (names, f"[{names[0]} {names[1]}]", [value(), value()]),
        (names, f"[[{names[0]} {names[1]}]]", [[value(), value()] for _ in range(writer.random.randint(0, 3))]),
    ]
    bound, declaration, given = writer.pick(kinds)
    return [declaration], [given], frozenset(bound)


def write_find(writer: Writer, bound: Bound) -> tuple[str, str]:
    """What `:find` says, and what follows `:where`."""
    variables = writer.some(bound, 3)
    if writer.chance(0.15):
        aggregate = writer.pick(("count", "count-distinct", "min", "max", *(() if writer.plain else ("sum",))))
        others = variables[1:]
        spare = sorted(bound - set(variables))
        with_ = f":with {spare[0]}" if spare and writer.chance(0.5) else ""
        return " ".join([*others, f"({aggregate} {variables[0]})"]), with_
    if not writer.plain and writer.chance(0.1):
        order = " ".join(writer.pick((v, f"[{v} :desc]")) for v in variables)
        return " ".join(
            variables
        ), f":order-by [{order}] :limit {writer.random.randint(1, 5)} :offset {writer.random.randint(0, 2)}"
    if writer.chance(0.1) and not writer.plain:
        return writer.pick((f"[{variables[0]} ...]", f"{variables[0]} .", f"[{' '.join(variables)}]")), ""
    return " ".join(variables), ""


@dataclass(frozen=True)
class Program:
    """The parts of a program, each of which can be left out to see whether it matters."""

    find: str
    declared: tuple[str, ...]
    where: tuple[str, ...]
    tail: str
    rules: tuple[str, ...]
    operations: tuple[tuple[Any, ...], ...]
    others: dict[str, tuple[Any, ...]]
    inputs: tuple[Any, ...]
    state: str

    def case(self) -> Case:
        where = f"where {' '.join(self.where)} " if self.where else ""
        return Case(
            file="random",
            line=0,
            sentence="a random program",
            transactions=tuple(map(list, self.operations)),
            others=self.others,
            rules=f"[{' '.join(self.rules)}]" if "%" in self.declared else None,
            query=f"[:find {self.find} :in {' '.join(self.declared)} :{where}{self.tail}]".replace(" :]", "]"),
            inputs=self.inputs,
            expected="rows",
            wanted=None,
            states=(self.state,),
            kind="ops",
        )

    def smaller(self) -> Iterator[Program]:
        """This program with one part left out, or with the clauses of one part instead of it."""
        for place, clause in enumerate(self.where):
            for instead in ("", *inner_clauses(clause)):
                yield replace(self, where=without(self.where, place, *([instead] if instead else [])))
        for place, rule in enumerate(self.rules):
            yield replace(self, rules=without(self.rules, place))
            head, *body = inner_clauses(rule)
            for i in range(len(body)):
                kept = " ".join([head, *without(body, i)])
                yield replace(self, rules=without(self.rules, place, f"[{kept}]"))
        for place, operations in enumerate(self.operations):
            for i, operation in enumerate(operations):
                rest = without(operations, i)
                yield replace(self, operations=without(self.operations, place, *([rest] if rest else [])))
                if isinstance(operation, dict):
                    for name in set(operation) - {"db/id"}:
                        less = {a: v for a, v in operation.items() if a != name}
                        changed = without(operations, i, less)
                        yield replace(self, operations=without(self.operations, place, changed))


def without(parts: Sequence[Any], place: int, *instead: Any) -> tuple[Any, ...]:
    return (*parts[:place], *instead, *parts[place + 1 :])


def inner_clauses(text: str) -> list[str]:
    """The bracketed parts one level inside a clause or a rule."""
    found, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in "([":
            depth += 1
            start = place if depth == 2 else start
        elif character in ")]":
            depth -= 1
            if depth == 1:
                found.append(text[start : place + 1])
    return found


def write_program(random: Random, plain: bool = False) -> Program:
    """A whole program; what it answers is for the oracle to say."""
    others: dict[str, tuple[Any, ...]] = {}
    collections: dict[str, Any] = {}
    if random.random() < 0.15:
        others["$b"] = tuple(d for t in write_transactions(random, plain) for d in t if isinstance(d, dict))
    values = Writer(random, plain=plain)
    if random.random() < 0.15:
        collections["$c"] = [[values.value() for _ in range(random.randint(2, 3))] for _ in range(random.randint(0, 4))]
    sources = ["$", *others]
    shapes, rules = write_rules(random, sources, plain)
    writer = Writer(random, shapes, 99, sources, dict.fromkeys(collections, 3), plain=plain)
    declared, given, bound = write_inputs(writer) if random.random() < 0.3 else ([], [], frozenset())
    where, bound_after = writer.body(bound, (), random.choice((1, 1, 2, 2, 3, 4)), 2)
    if not bound_after:
        clause, bound_after = writer.binder("?x", bound_after)
        where.append(clause)
    if not plain and random.random() < 0.05:
        declared, given = [*declared, "?below"], [*given, CALLABLES["below_three"]]
        where.append(f"[(?below {writer.pick(bound_after)})]")
    if random.random() < 0.03:
        where.pop(random.randrange(len(where)))
    find, tail = write_find(writer, bound_after)
    return Program(
        find=find,
        declared=(*sources, *collections, *(["%"] if rules else []), *declared),
        where=tuple(where),
        tail=tail,
        rules=tuple(rules),
        operations=tuple(map(tuple, write_transactions(random, plain))),
        others=others,
        inputs=(*collections.values(), *given),
        state="as of" if random.random() < 0.3 else "together",
    )


def shrunk(program: Program, is_wrong: Callable[[Program], bool]) -> Program:
    """A smallest program among those that leave out parts of this one and are still wrong."""
    smaller = next((other for other in program.smaller() if is_wrong(other)), None)
    return program if smaller is None else shrunk(smaller, is_wrong)


def as_case(case: Case) -> str:
    """The text that makes a case of a program: its sentence and its answer are still to be written."""
    lines = [f"ops: {list(case.transactions)!r}"]
    lines += [f"docs {name}: {list(docs)!r}" for name, docs in case.others.items()]
    lines += [f"rules: {case.rules}"] if case.rules else []
    lines.append(f"query: {case.query}")
    lines += [f"inputs: {list(case.inputs)!r}"] if case.inputs else []
    lines.append(f"states: {', '.join(case.states)}")
    return "\n".join(lines)
