"""What is public in tourlog, and what is missing in its docstrings: parameters, units, errors. Used by
`test_docstrings.py`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any

import tourlog

PACKAGE = Path(tourlog.__file__).parent

_SPAN = re.compile(r"``?([^`]+)``?")
_ERROR = re.compile(r"\b[A-Z]\w*(?:Error|Exception|StopIteration|Interrupt)\b")
LIKE = re.compile(r"(?:[Ss]ee|(?:^|[,:;.] )[Aa]s|\b(?:those|that) of|arguments of) `([\w.]+)`")
"""How a docstring says that something is as it is there: "see `Database.q`", "are those of `Connection.append`"."""

_MADE = re.compile(r"[Mm]ade (?:by|with) ")
"""Says that nobody is to call the class."""

_DURATION = re.compile(r"timeout|duration|seconds|interval|patience|delay")
_SIZE = re.compile(r"(?:^|_)(?:size|bytes)(?:_|$)")


@dataclass(frozen=True)
class Name:
    """A public name: how users write it, what it is, and the class it belongs to."""

    name: str
    thing: Any
    owner: type | None = None

    @cached_property
    def function(self) -> Any:
        """The function there is to call, if it is one; of a property, what computes it."""
        thing = self.thing
        if isinstance(thing, property):
            thing = thing.fget
        thing = getattr(thing, "func", thing) if isinstance(thing, cached_property) else thing
        thing = getattr(thing, "__func__", thing)
        thing = getattr(thing, "_fixture_function", thing)  # pytest's
        return inspect.unwrap(thing) if callable(thing) and not isinstance(thing, type) else None

    @cached_property
    def doc(self) -> str:
        """Its own docstring, not that of what it overrides, without its examples."""
        thing = self.thing if isinstance(self.thing, type | ModuleType) else self.function
        if isinstance(thing, type):
            text = vars(thing).get("__doc__") or ""
            text = "" if is_dataclass(thing) and text.startswith(f"{thing.__name__}(") else text  # made by dataclass
        else:
            text = getattr(thing, "__doc__", None) or ""
        lines = inspect.cleandoc(text).split("\n")
        first = next((n for n, line in enumerate(lines) if line.startswith(">>>")), len(lines))
        return " ".join(" ".join(lines[:first]).split())

    @property
    def spans(self) -> str:
        """What it says in backquotes."""
        return " ".join(_SPAN.findall(self.doc))

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What is to be explained: parameters, or the attributes of a class; each with its annotation as written."""
        if isinstance(self.thing, type):
            return _attributes(self)
        is_given = hasattr(self.thing, "_fixture_function")  # by pytest
        if self.function is None or is_given or isinstance(self.thing, property | cached_property):
            return {}
        found = list(inspect.signature(self.function).parameters.values())
        if self.owner is not None and not isinstance(vars(self.owner).get(self.function.__name__), staticmethod):
            found = found[1:]
        return {each.name: _written(each.annotation) for each in found if not each.name.startswith("_")}


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _attributes(of: Name) -> dict[str, str]:
    """The attributes of a class that users see, and the parameters of one they make."""
    kind = of.thing
    if issubclass(kind, BaseException) and "__init__" not in vars(kind):
        return {}
    if is_dataclass(kind):
        return {each.name: _written(each.type) for each in fields(kind) if not each.name.startswith("_")}
    if hasattr(kind, "_fields"):  # a NamedTuple
        return dict.fromkeys(kind._fields, "")
    found = {name: "" for name in vars(kind).get("__slots__", ()) if not name.startswith("_")}
    if "__init__" in vars(kind):
        source = ast.parse(dedent(inspect.getsource(vars(kind)["__init__"])))
        found |= {
            node.attr: ""
            for node in ast.walk(source)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not node.attr.startswith("_")
        }
        if not _MADE.search(of.doc):
            parameters = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
            found |= {each.name: _written(each.annotation) for each in parameters}
    return found


# What is public.

MODULES: Mapping[str, tuple[str, ...] | None] = {
    "aio": None,
    "csv_files": ("export_csv",),
    "decider": None,
    "event_store": None,
    "integrations.cloudevents": ("document_to_event", "event_to_document", "export_events", "import_events"),
    "integrations.eventsourcing": None,
    "integrations.eventsourcing_dcb": None,
    "integrations.parquet": ("export_parquet",),
    "log_store": None,
    "notebook": ("import_file",),
    "pictures": None,
    "projection": None,
    "pytest_plugin": ("Clock", "Scenario"),
    "stream_import": ("import_streams",),
}
"""The modules that users import from, or get objects from; all of their names, or those that are for users."""


@cache
def public() -> Mapping[str, Name]:
    """Every public name: what `tourlog` has in `__all__`, what its other modules are imported for, the fixtures for
    pytest, and the classes of what all these return."""
    names = [
        each
        for name in tourlog.__all__
        if not isinstance(thing := getattr(tourlog, name), ModuleType)
        for each in members(Name(name, thing))
    ]
    for module, wanted in MODULES.items():
        names += names_of(import_module(f"tourlog.{module}"), f"{module}.", wanted)
    plugin = import_module("pytest_tourlog")
    fixtures = [name for name, thing in vars(plugin).items() if hasattr(thing, "_fixture_function")]
    names += names_of(plugin, "pytest_tourlog.", tuple(fixtures))
    return with_results({each.name: each for each in names})


def names_of(module: ModuleType, prefix: str, wanted: tuple[str, ...] | None = None) -> Iterator[Name]:
    """The functions and classes a module defines, or those `wanted` that it has, with the members of the classes."""
    for name, thing in sorted(vars(module).items()):
        defined = getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_")
        is_code = inspect.isroutine(thing) or isinstance(thing, type) or hasattr(thing, "_fixture_function")
        if is_code and (defined if wanted is None else name in wanted):
            yield from members(Name(f"{prefix}{name}", thing))


def members(of: Name) -> Iterator[Name]:
    """A name and, if it is a class, its public methods and properties."""
    yield of
    if isinstance(of.thing, type):
        for name, thing in vars(of.thing).items():
            is_member = inspect.isroutine(thing) or isinstance(thing, property | cached_property)
            if is_member and not name.startswith("_") and not _is_made_by_python(of.thing, name):
                yield Name(f"{of.name}.{name}", thing, of.thing)


def _is_made_by_python(kind: type, name: str) -> bool:
    return hasattr(kind, "_fields") and name in ("count", "index")


def with_results(names: Mapping[str, Name]) -> dict[str, Name]:
    """The names and, with their members, the classes of tourlog that they return."""
    found = dict(names)
    known = {id(each.thing) for each in names.values()}
    queue = list(names.values())
    while queue:
        each = queue.pop()
        annotation = getattr(each.function, "__annotations__", {}).get("return", "")
        for word in re.findall(r"\b[A-Z]\w+", _written(annotation)):
            kind = _meant(word, each.function.__module__)
            if kind is not None and id(kind) not in known:
                known.add(id(kind))
                new = list(members(Name(f"{kind.__module__.removeprefix('tourlog.')}.{word}", kind)))
                found |= {one.name: one for one in new}
                queue += new
    return found


def _meant(word: str, module_name: str) -> type | None:
    """The class of tourlog that a word of an annotation means in a module."""
    module = _Module.of(module_name)
    home = module.imports.get(word, (module_name, word)) if module is not None else ("", "")
    kind = getattr(import_module(home[0]), home[1], None) if home[0].startswith("tourlog") else None
    return kind if isinstance(kind, type) and kind.__module__.startswith("tourlog") else None


# What is missing.


def undocumented(name: Name, names: Mapping[str, Name]) -> list[str]:
    """What a docstring does not say that it should: a line each."""
    if not name.doc:
        return [f"{name.name} has no docstring"]
    texts = [name, *likened(name, names)]
    missing = []
    for parameter, annotation in name.parameters.items():
        if not any(_mentions(each.spans, parameter) for each in texts):
            missing.append(f"{name.name} does not explain `{parameter}`")
        elif not _says_unit(parameter, unit := _unit(parameter, annotation), texts):
            missing.append(f"{name.name} does not say the unit of `{parameter}` ({unit})")
    return missing


def likened(name: Name, names: Mapping[str, Name]) -> list[Name]:
    """The names that a docstring refers to for the rest, and those that these refer to."""
    found: list[Name] = []
    queue = [name]
    while queue:
        each = queue.pop()
        for word in LIKE.findall(each.doc):
            other = resolved(word, each, names)
            if other is not None and other is not name and other not in found:
                found.append(other)
                queue.append(other)
    return found


def resolved(word: str, where: Name, names: Mapping[str, Name]) -> Name | None:
    """The public name that a word of a docstring means: a neighbour's, or one given in full."""
    neighbour = f"{where.name.rpartition('.')[0]}.{word}".lstrip(".")
    return names.get(neighbour) or names.get(word.removeprefix("tourlog."))


def _mentions(spans: str, parameter: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(parameter)}(?![\w-])", spans) is not None


def _says_unit(parameter: str, unit: str | None, texts: list[Name]) -> bool:
    """Whether a docstring that explains a parameter names one of its units, if it has any."""
    explaining = [each.doc for each in texts if _mentions(each.spans, parameter)]
    return unit is None or any(re.search(rf"\b(?:{unit})\b", text) for text in explaining)


def _unit(parameter: str, annotation: str) -> str | None:
    """The units of which a parameter's docstring has to name one."""
    if _DURATION.search(parameter):
        return "seconds"
    if re.search(r"\bfloat\b", annotation):
        return "seconds|pixels"
    return "bytes" if _SIZE.search(parameter) else None


def named_errors(name: Name) -> set[str]:
    """The errors that a docstring names."""
    return set(_ERROR.findall(name.doc))


def is_error(name: Name) -> bool:
    """Whether it is the class of an error, whose docstring may name others."""
    return isinstance(name.thing, type) and issubclass(name.thing, BaseException)


def unnamed_errors(name: Name, names: Mapping[str, Name]) -> set[str]:
    """The errors that a function raises, as far as its text tells, and neither its docstring names, nor those of its
    class, nor any that it refers to."""
    classes = [each for each in names.values() if name.owner is not None and each.thing in name.owner.__mro__]
    texts = [name, *classes, *likened(name, names)]
    return raised_errors(name.function) - set().union(*map(named_errors, texts))


def codes(name: Name) -> set[CodeType]:
    """The code that runs when a name is used; of a class, that of any of its methods."""
    if isinstance(name.thing, type):
        own = [each for key, each in vars(name.thing).items() if key.startswith("__") and inspect.isfunction(each)]
        return {each.__code__ for each in own}.union(*map(codes, list(members(name))[1:]))
    return {name.function.__code__} if hasattr(name.function, "__code__") else set()


# What a function raises, as far as its text tells.


@dataclass(frozen=True)
class _Module:
    """The functions of a module, by qualified name, and where the names it imports come from."""

    name: str
    functions: Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]
    imports: Mapping[str, tuple[str, str]]

    @staticmethod
    @cache
    def of(name: str) -> _Module | None:
        path = PACKAGE.parent / Path(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not path.exists():
            return None
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        return _Module(name, dict(_functions(tree, "")), imports)

    def found(self, called: str, owner: str) -> tuple[_Module, str] | None:
        """Where a function called by this name is: `self.x` is of the owner, the rest of this module or imported."""
        if called.startswith("self."):
            own = f"{owner}.{called.removeprefix('self.')}"
            return (self, own) if own in self.functions else None
        if called in self.functions:
            return self, called
        home = _Module.of(self.imports[called][0]) if called in self.imports else None
        return (home, self.imports[called][1]) if home and self.imports[called][1] in home.functions else None


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{node.name}.")


def _called(node: ast.AST) -> str:
    """`name` or `self.name`, of what is called."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name("self"), name):
            return f"self.{name}"
    return ""


def raised_errors(function: Callable[..., Any]) -> set[str]:
    """The errors that a function raises itself or by a check it calls: a `raise` in its text, in that of the functions
    of its module and methods of its class that it calls, and in that of functions it imports."""
    module = _Module.of(function.__module__)
    return set() if module is None else set(_raised(module, function.__qualname__, set()))


def _raised(module: _Module, name: str, seen: set[tuple[str, str]], *, is_far: bool = False) -> Iterator[str]:
    node = module.functions.get(name)
    if node is None or (module.name, name) in seen:
        return
    seen.add((module.name, name))
    owner = name.rpartition(".")[0]
    for each in ast.walk(node):
        if isinstance(each, ast.Raise) and each.exc is not None:
            yield from _error(module, _called(each.exc.func if isinstance(each.exc, ast.Call) else each.exc), owner)
        elif isinstance(each, ast.Call) and not is_far:
            found = module.found(_called(each.func), owner)
            if found is not None:
                yield from _raised(*found, seen, is_far=found[0] is not module)


def _error(module: _Module, raised: str, owner: str) -> Iterator[str]:
    """The class of what is raised: named, or returned by a function that makes it."""
    if _ERROR.fullmatch(raised):
        yield raised
        return
    found = module.found(raised, owner)
    returned = found[0].functions[found[1]].returns if found is not None else None
    if isinstance(returned, ast.Name) and _ERROR.fullmatch(returned.id):
        yield returned.id
