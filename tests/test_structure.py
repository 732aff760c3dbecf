"""The house: which file may import which. Imports point one way, lazy ones counted."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up; a part imports its own files and those below.
LAYERS = [
    ("_checks", "_files", "_device", "_output", "_modules", "_paths", "_version", "cost"),
    ("attention",),
    ("data",),
    ("models",),
    ("gamlib",),  # the public names, for readers
    ("results",),
    ("training",),
    ("paper", "explain", "compare"),
    ("doctor",),
    ("cli", "course"),
    ("__main__",),
]
HEIGHT = {name: i for i, layer in enumerate(LAYERS) for name in layer}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text(encoding="utf-8")
    for path in (ROOT / "gamlib").rglob("*.py")
}


def part(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def imports_of(name: str, text: str) -> set[str]:
    """Files of gamlib that a file imports, at its top or anywhere in it, but for type checkers alone."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            # `from gamlib.data import puzzles` imports a file, `from gamlib.data import load` the package's own.
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in FILES else node.module for module in modules}
    return {module for module in found if module in FILES and module != name}


GRAPH = {name: imports_of(name, text) for name, text in FILES.items()}


def parts(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same between parts."""
    found: dict[str, set[str]] = {part(name): set() for name in graph}
    for name, others in graph.items():
        found[part(name)] |= {part(other) for other in others} - {part(name)}
    return found


def in_circles(graph: dict[str, set[str]]) -> list[str]:
    """What can be reached from itself: all that is left when those that import nothing else are taken away in turn."""
    left = {name: set(others) for name, others in graph.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    return [name for name in left if name in reached(graph, name)]


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        for other in graph[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a part that lies higher."""
    return [f"{a} imports {b}" for a in graph for b in graph[a] if HEIGHT[part(b)] > HEIGHT[part(a)]]


def test_every_file_has_a_layer():
    assert {part(name) for name in FILES} == set(HEIGHT)
    assert len(GRAPH) > 60
    assert GRAPH["gamlib.cli.train"] >= {"gamlib.models", "gamlib.cost", "gamlib.cli.options"}
    assert "gamlib.attention" in GRAPH["gamlib.models.insert"]


def test_no_circle_of_files_or_of_parts():
    assert in_circles(GRAPH) == []
    assert in_circles(parts(GRAPH)) == []


def test_no_import_upward():
    assert upward(GRAPH) == []


def test_nothing_else_uses_the_course():
    assert [name for name, others in parts(GRAPH).items() if "course" in others] == []


@pytest.mark.parametrize(
    ("name", "line", "is_upward"),
    [
        ("gamlib.training.folder", "from gamlib.compare import compare", True),
        ("gamlib.models.weights", "import gamlib.results.schema", True),
        ("gamlib.attention._checks", "from gamlib import create_model", True),
        ("gamlib.data.cifar100_sources", "from gamlib.data.cifar100 import dataset", False),
        ("gamlib.training.recipes", "from gamlib.training import evaluate", False),
    ],
)
def test_an_import_put_back_is_found(name, line, is_upward):
    """In a function, as lazily as it may be."""
    graph = GRAPH | {name: imports_of(name, f"{FILES[name]}\n\ndef lazily():\n    {line}\n")}
    assert bool(upward(graph)) is is_upward
    assert is_upward or name in in_circles(graph)
