"""The notebooks do what they show: each is run, and what it prints compared with what is stored in it.

Run as a program, this file stores what the notebooks print now: `python tests/test_notebooks.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook extra is not installed")
nbclient = pytest.importorskip("nbclient", reason="the notebook extra is not installed")

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-(?=[0-9a-f]{12})")
_SVG_TEXT = re.compile(r"<text[^>]*>(.*?)</text>", re.S)
_MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|var|work|opt|private|Users)\b|[A-Z]:\\\\")


def execute(path: Path, folder: Path) -> Any:
    """The notebook as it comes out when it is run in an empty folder, in a new kernel."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def shown(notebook: Any) -> list[tuple[str, list[Any]]]:
    """What a reader sees of each cell. The part of a document's id that every new store draws anew is left out,
    as is how exactly a picture is drawn."""
    return [(cell.source, [_output(output) for output in _merged(cell.get("outputs", []))]) for cell in notebook.cells]


def _merged(outputs: list[Any]) -> list[Any]:
    """Outputs, with texts that were printed one after another, in however many pieces, as one."""
    merged: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
            merged[-1] = {**merged[-1], "text": merged[-1]["text"] + output.text}
        else:
            merged.append(dict(output))
    return merged


def _output(output: dict[str, Any]) -> Any:
    match output["output_type"]:
        case "stream":
            return output["name"], _ID.sub("…-", output["text"])
        case "error":
            return output["ename"], output["evalue"], "\n".join(output["traceback"])
        case _:
            return {kind: _data(kind, data) for kind, data in output["data"].items()}


def _data(kind: str, data: Any) -> Any:
    return sorted(_SVG_TEXT.findall(data)) if kind == "image/svg+xml" else _ID.sub("…-", str(data))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_is_stored_in_it(path: Path, tmp_path: Path) -> None:
    assert shown(execute(path, tmp_path)) == shown(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_tells_nothing_of_the_machine_it_ran_on(path: Path) -> None:
    assert _MACHINE_PATHS.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_from_top_to_bottom_and_fails_only_where_it_means_to(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    failing = {cell.id for cell in cells for output in cell.outputs if output.output_type == "error"}
    assert failing == {cell.id for cell in cells if "raises-exception" in cell.metadata.get("tags", [])}


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "commit_history",
        "first_ten_minutes",
        "log_beside_events",
        "partitions",
    ]


def store(path: Path) -> None:
    """Run a notebook and store what it prints, and nothing about the machine, in it."""
    with TemporaryDirectory() as folder:
        notebook = execute(path, Path(folder))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = _metadata(cell)
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(output) for output in _merged(cell.outputs)]
    nbformat.write(notebook, path)


def _metadata(cell: Any) -> dict[str, Any]:
    """Its tags, and by what nbconvert and nbviewer are to colour a cell that is no Python."""
    kept = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
    return {**kept, "magics_language": "clojure"} if cell.source.startswith("%%datalog") else kept


if __name__ == "__main__":
    for each in sys.argv[1:] or NOTEBOOKS:
        print(each)
        store(Path(each))
