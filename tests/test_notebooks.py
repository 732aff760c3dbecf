"""Notebooks keep the course's form. nbval runs them and compares their outputs; this looks at what it can't see."""

import base64
import dataclasses
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_notebooks import LANGUAGE

from gamlib import cli, create_model
from gamlib.course.exercises import EXERCISES
from gamlib.data import puzzles
from gamlib.training import Speed, fit, recipes

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert FOLDER / "00_start_here.ipynb" in NOTEBOOKS


@every_notebook
def test_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(source(cell).strip() for cell in cells), "an empty code cell"
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert "error" not in kinds
    assert len(kinds) >= len(cells) / 2, "outputs were cleared"


@every_notebook
def test_prints_nothing_on_standard_error_and_leaves_no_bars_behind(path):
    for cell in code_cells(path):
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                assert output["name"] == "stdout", "".join(output["text"])
                assert "\r" not in "".join(output["text"]), "a progress bar in all its states"


@every_notebook
def test_says_its_language_in_full_so_that_a_script_can_be_made_of_it(path):
    """And not Python's version, which changes with the machine."""
    assert read(path)["metadata"]["language_info"] == LANGUAGE


@every_notebook
def test_is_small_and_holds_no_widget_state(path):
    assert path.stat().st_size < 1_000_000
    assert "widgets" not in read(path)["metadata"]


@every_notebook
def test_every_figure_has_an_alt_text(path):
    for cell in code_cells(path):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert len(output["metadata"]["image/png"].get("alt", "")) > 40
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "markdown":
            assert "![](" not in source(cell)
            assert "<img" not in source(cell)


@every_notebook
def test_holds_no_control_characters(path):
    """A lost backslash makes one of \\big or \\times."""
    for cell in read(path)["cells"]:
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", source(cell)), source(cell)


@every_notebook
def test_compares_most_of_its_outputs(path):
    cells = code_cells(path)
    ignored = [c for c in cells if {"nbval-ignore-output", "nbval-skip"} & set(c["metadata"].get("tags", []))]
    assert len(ignored) <= 0.2 * len(cells)
    assert not [c for c in cells if "nbval-skip" in c["metadata"].get("tags", [])], "a cell that no test runs"


@every_notebook
def test_form(path):
    cells = read(path)["cells"]
    assert 20 <= len(cells) <= 60
    text = " ".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    most = 1650 if path in NOTEBOOKS[:1] else 2400 if path in NOTEBOOKS[:9] else 2600
    assert 900 <= len(text.split()) <= most
    first = source(cells[0])
    assert first.startswith(f"# {path.stem[:2]} · ")
    minutes = int(re.search(r"\*\*Time:\*\* (\d+) minutes", first).group(1))
    assert 20 <= minutes <= 45
    assert "**Needs:**" in first
    assert source(cells[1]) == source(read(NOTEBOOKS[0])["cells"][1]), "another set-up cell than the first notebook's"
    last = source(cells[-1])
    assert "## Five things to take away" in last
    assert [line[:2] for line in last.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    assert "**Next:**" in last


@every_notebook
def test_long_cells_and_plots_are_folded_and_say_what_they_show(path):
    """In JupyterLab and on Colab alike: whoever reads meets the picture first."""
    for cell in code_cells(path)[1:]:
        is_folded = cell["metadata"].get("jupyter", {}).get("source_hidden") and cell["metadata"]["cellView"] == "form"
        draws = "subplots(" in source(cell) or "draw" in source(cell)
        long = 25 if path in NOTEBOOKS[:9] else 45  # later on, code is what is taught
        if len(source(cell).splitlines()) > long or draws:
            assert is_folded, source(cell)
        assert source(cell).startswith("# @title ") == bool(is_folded)


@every_notebook
def test_pictures_are_few_and_small(path):
    pictures = [
        output["data"]["image/png"]
        for cell in code_cells(path)
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert (4 if path in NOTEBOOKS[:9] else 2) <= len(pictures) <= 13
    most = 180_000 if path.stem.startswith("10") else 120_000  # photographs take more than drawings
    assert all(len(base64.b64decode(picture)) <= most for picture in pictures)


@pytest.mark.parametrize("path", NOTEBOOKS[1:9], ids=lambda path: path.stem)
def test_the_main_exercise_is_a_module_that_is_trained_and_one_is_a_question_without_check(path):
    cells = read(path)["cells"]
    trained = re.findall(r'(\w+) = to_train\("([\w.]+)", (\w+), (\w+)(?:, gates=.*)?\)', "\n".join(map(source, cells)))
    assert trained, "no class of the reader's is trained"
    for name, exercise, mine, solution in trained:
        (stub,) = [cell for cell in cells if f'check("{exercise}", {mine})' in source(cell)]
        (solved,) = [cell for cell in cells if f'check("{exercise}", {solution})' in source(cell)]
        assert f"class {mine}(nn.Module)" in source(stub)
        assert is_solution(solved)
        later = "\n".join(map(source, cells[cells_after(cells, source(solved)) :]))
        assert later.count(name) >= 2, f"{name} is not used"
    (question,) = [source(cell) for cell in cells if cell["cell_type"] == "markdown" and "### Try: " in source(cell)]
    assert cells[cells_after(cells, question)]["cell_type"] == "code"


def cells_after(cells: list[dict], text: str) -> int:
    return next(i for i, cell in enumerate(cells) if source(cell) == text) + 1


@pytest.mark.parametrize("heading", re.findall(r'"([^"]{3,60})"', (FOLDER / "TEACHING.md").read_text(encoding="utf-8")))
def test_headings_that_the_teaching_notes_quote_are_in_a_notebook(heading):
    """Quoted words that begin with a capital are headings, but for questions; others are what people say."""
    if heading[0].isupper() and not heading.endswith("?"):
        texts = [source(cell) for path in NOTEBOOKS for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
        headings = [line.lstrip("# ") for text in texts for line in text.splitlines() if line.startswith("#")]
        assert any(line.startswith(heading) for line in headings), headings


@every_notebook
def test_long_classes_come_after_their_lines_ran_loose(path):
    for cell in code_cells(path):
        for block in re.split(r"^(?=class )", source(cell), flags=re.M)[1:]:
            lines = [line for line in block.splitlines() if not line or line.startswith((" ", "class "))]
            assert len(lines) <= 25


@pytest.mark.parametrize(
    "path",
    [*NOTEBOOKS, FOLDER / "README.md", FOLDER.parent / "README.md", FOLDER.parent / "data" / "README.md"],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_links_lead_somewhere(path):
    if path.suffix == ".ipynb":
        text = "\n".join(source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    ("image", "notebook"),
    [("look_inside", "00_start_here"), ("grid", "07_gam_spatial_attention"), ("gam", "08_gam_by_its_numbers")],
)
def test_readmes_pictures_are_the_notebooks_own(image, notebook):
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for cell in code_cells(FOLDER / f"{notebook}.ipynb")
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert (FOLDER / "images" / f"{image}.png").read_bytes() in pictures
    assert f"notebooks/images/{image}.png" in (FOLDER.parent / "README.md").read_text(encoding="utf-8")


@every_notebook
def test_the_map_of_the_course_has_a_small_picture_from_each_notebook(path):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f'<img src="images/map/{path.stem[:2]}.png" width="150" alt=""> | [{path.stem[:2]} ' in readme
    with Image.open(FOLDER / "images" / "map" / f"{path.stem[:2]}.png") as image:
        small = np.asarray(image.convert("RGB"), dtype=float)
    assert small.shape[1] <= 360
    distances = []
    for cell in code_cells(path):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                large = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))).convert("RGB")
                resized = np.asarray(large.resize(small.shape[1::-1], Image.Resampling.LANCZOS), dtype=float)
                distances.append(abs(resized - small).mean())
    assert min(distances) < 4, "it is no picture of the notebook's any more"
    assert sorted(distances)[1] > 8, "any picture would do"


# ------------------------------------------------------------------ exercises


def is_solution(cell: dict) -> bool:
    return source(cell).startswith("# @title Solution")


def printed(cell: dict) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def answered(cell: dict) -> str:
    """What `check` said, a line each: in a notebook it stands in boxes."""
    boxes = [output["data"] for output in cell["outputs"] if output["output_type"] == "display_data"]
    assert all("".join(box["text/html"]).startswith('<div style="border-left') for box in boxes)
    return "".join("".join(box["text/plain"]) + "\n" for box in boxes)


def test_every_exercise_stands_in_a_notebook_and_every_check_is_of_an_exercise():
    named = re.findall(r'check\("([\w.]+)"', "\n".join(source(cell) for path in NOTEBOOKS for cell in code_cells(path)))
    assert set(named) == EXERCISES.keys()


def test_readme_counts_notebooks_and_exercises():
    readme = " ".join((FOLDER.parent / "README.md").read_text(encoding="utf-8").split())
    assert len(NOTEBOOKS) == 14
    assert "Fourteen notebooks lead" in readme
    assert f"with {len(EXERCISES)} exercises that say what is wrong" in readme


@every_notebook
def test_exercises_have_a_stub_a_hint_and_a_folded_solution(path):
    cells = read(path)["cells"]
    titles = [i for i, cell in enumerate(cells) if source(cell).startswith("### Exercise: ")]
    assert len(titles) in ((0,) if path.stem.startswith("00") else (2, 3, 4))
    for i in titles:
        assert re.search(r"\*(Warm-up|Core|Stretch), about \d+ minutes\.\*", source(cells[i]), flags=re.I)
        stub, hint, solution = cells[i + 1 : i + 4]
        assert "NotImplementedError" in source(stub)
        names = re.findall(r'check\("([\w.]+)"', source(stub))
        assert answered(stub) == "".join(
            f"{name}: not attempted yet. Write it in this cell, then run it again.\n" for name in names
        )
        assert "<details><summary>Hint</summary>" in source(hint)
        assert is_solution(solution)
        assert solution["metadata"] == {"cellView": "form", "jupyter": {"source_hidden": True}}
        assert re.findall(r'check\("([\w.]+)"', source(solution)) == names
    assert [i for i, cell in enumerate(cells) if is_solution(cell)] == [i + 3 for i in titles]


def test_each_exercises_solution_is_right():
    told = "".join(answered(cell) for path in NOTEBOOKS for cell in code_cells(path) if is_solution(cell))
    for name, exercise in EXERCISES.items():
        assert f"{name}: right. {exercise.notice}\n" in told


def test_the_loop_of_notebook_09_is_the_trainers_with_its_switches_off():
    """Two epochs, CIFAR's augmentation, GAM and BatchNorm: equal losses and equal weights, to the bit."""
    cells = code_cells(FOLDER / "09_train_cifar100.ipynb")
    (loop,) = [source(cell) for cell in cells if "def train(network, dataset" in source(cell)]
    namespace = {"torch": torch}
    exec(loop, namespace)
    few = puzzles.dataset("joint").first(320)
    dataset = dataclasses.replace(few, augment=True, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    recipe = dataclasses.replace(recipes.get("smoke"), epochs=2, batch_size=64)
    torch.set_num_threads(1)

    def network():
        torch.manual_seed(0)
        return create_model("probe", "gam", {"reduction": 4}, num_classes=10, width=8)

    mine, theirs = network(), network()
    losses = namespace["train"](mine, dataset, recipe, seed=3)
    run = fit(theirs, dataset, recipe, 3, speed=Speed(precision="fp32", channels_last=False, fused=False))
    assert losses == [entry["train_loss"] for entry in run.curves]
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))


def commands(text: str) -> list[str]:
    """Each `gamlib ...` in the shell blocks of a text, whoever starts it: torchrun, tmux, docker, SLURM."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.S)).replace("\\\n", " ").splitlines()
    found = [
        re.search(r"(?:-m )?gamlib ((?:train|resize|doctor|evaluate|compare|results|paper)\b[^\"#]*)", line)
        for line in lines
    ]
    return [match[1].strip() for match in found if match]


@every_notebook
def test_commands_in_shell_blocks_are_commands(path):
    for command in commands("\n".join(map(source, read(path)["cells"]))):
        assert cli.parser().parse_args(shlex.split(command)).command == command.split()[0]


def test_readmes_commands_are_commands():
    """Of whoever starts them: torchrun, tmux, docker and SLURM among them."""
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    found = commands(text)
    assert len(found) >= 8
    assert all(starter in text for starter in ("\ntmux new", "\ndocker run", "\nsrun torchrun", "\ntorchrun --nnodes"))
    for command in found:
        if not command.endswith("..."):
            assert cli.parser().parse_args(shlex.split(command)).command == command.split()[0]
