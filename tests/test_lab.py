"""The colours of `%%datalog` cells in JupyterLab: a script that no build makes, so it is read and run here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tourlog
from tourlog import html

LAB = Path(tourlog.__file__).parent / "lab"
SCRIPT = LAB / "static" / "edn.js"
QUERY = """[:find ?bot (count ?x) .
 :in $ % [?n ...] ; a comment, "quoted"
 :where (above ?e ?n) [?e :at.place -1.5] [?e :x 'q'] #inst "2020" [(starts-with? ?bot "b \\" q")] "open"""

# Where JupyterLab's modules would be: enough of them to activate the extension and to ask for its marks.
PROGRAM = """
const marks = [];
const modules = {
  "@jupyterlab/codemirror": {
    IEditorExtensionRegistry: "the registry",
    EditorExtensionRegistry: { createImmutableExtension: (extension) => extension },
  },
  "@codemirror/state": {
    Prec: { lowest: (extension) => extension },
    RangeSetBuilder: class {
      add(from, to, mark) { marks.push([from, to, mark.class]); }
      finish() { return marks; }
    },
  },
  "@codemirror/view": {
    Decoration: { mark: (spec) => spec },
    EditorView: { theme: (rules) => Object.keys(rules) },
    ViewPlugin: { fromClass: (kind) => kind },
  },
};
require(process.argv[1]);
const container = globalThis._JUPYTERLAB.tourlog;
const version = (name, loaded) => ({ loaded, get: async () => () => modules[name] });
const wrong = { get: async () => { throw new Error("an older version"); } };
container.init(Object.fromEntries(
  Object.keys(modules).map((name) => [name, { "6.9.1": wrong, "6.10.0": version(name, 0) }])
));
(async () => {
  const extension = (await container.get("./extension"))();
  const added = [];
  extension.activate(null, { addExtension: (each) => added.push(each) });
  const [Colouring, rules] = added[0].factory({});
  const text = require("fs").readFileSync(0, "utf-8");
  new Colouring({ state: { doc: { toString: () => text } } });
  console.log(JSON.stringify({ id: extension.id, requires: extension.requires, rules, marks }));
})();
"""


def test_the_extension_is_of_this_version_and_loads_what_is_there() -> None:
    described = json.loads((LAB / "package.json").read_text(encoding="utf-8"))
    assert (described["name"], described["version"]) == ("tourlog", tourlog.__version__)
    assert LAB / described["jupyterlab"]["_build"]["load"] == SCRIPT


def test_its_tokens_are_those_of_everything_else_that_is_coloured() -> None:
    found = re.findall(r"String\.raw`\(\?<(\w+)>(.*)\)`", SCRIPT.read_text(encoding="utf-8"))
    ours = html._TOKEN.pattern.replace("\n", "").replace(r"\#", "#")
    theirs = "|".join(f"(?P<{name}>{pattern})" for name, pattern in found)
    assert theirs == re.sub(r"\s{2,}", "", ours).replace(" |", "|").replace("| ", "|").strip()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("line", ["%%datalog", "%%datalog -d db rules 1"])
def test_the_script_marks_what_is_below_the_first_line_of_a_cell(line: str) -> None:
    done = subprocess.run(
        ["node", "-e", PROGRAM, SCRIPT], input=f"{line}\n{QUERY}", capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    shown = json.loads(done.stdout)
    start = len(line) + 1
    wanted = []
    for kind, part in html.tokens(QUERY):
        wanted.append([start, start + len(part), f"tourlog-edn-{kind or 'plain'}"])
        start += len(part)
    assert (shown["id"], shown["requires"], shown["marks"]) == ("tourlog:edn", ["the registry"], wanted)
    assert {rule.split(",")[0] for rule in shown["rules"]} == {f".{name}" for _, _, name in wanted}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("cell", ["[:find ?x]", "%%datalogs\n[:find ?x]", "x = 1\n%%datalog\n[]", ""])
def test_the_script_leaves_other_cells_alone(cell: str) -> None:
    done = subprocess.run(["node", "-e", PROGRAM, SCRIPT], input=cell, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["marks"] == []
