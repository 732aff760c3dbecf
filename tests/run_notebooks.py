"""Runs notebooks on a fresh kernel and stores their outputs in the form that is committed.

    python tests/run_notebooks.py notebooks/00_start_here.ipynb ...

A progress bar is stored as its last state, and times of execution are left out, so that running again changes no more
than what really changed.
"""

import sys
import time
from pathlib import Path

# In full, so that scripts can be made of notebooks; without a version, which would change from machine to machine.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def last_state(text: str) -> str:
    """What a terminal would show of `text`: behind each carriage return, the line starts again."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def run(path: Path) -> None:
    """Run one notebook, in its folder, and write it back."""
    import nbformat  # with the packages of `course`, which the tests do without
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(notebook, timeout=1800, record_timing=False, coalesce_streams=True).execute(cwd=str(path.parent))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and "\r" in output.text:
                output.text = last_state(output.text)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": LANGUAGE,
    }
    nbformat.write(notebook, path)
    print(f"{path}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        run(Path(argument).resolve())
