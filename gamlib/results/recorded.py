"""The recorded runs that ship with the course."""

from gamlib._checks import unknown_name
from gamlib._paths import recorded
from gamlib.results.schema import Result, read


def list_recorded() -> list[str]:
    """Names of the recorded runs that ship with the course."""
    return sorted(path.stem for path in recorded("results").glob("*.json"))


def load(name: str) -> list[Result]:
    """Recorded runs by name. Raises ValueError, with all names, for an unknown one."""
    if name not in list_recorded():
        raise unknown_name("recorded result", name, list_recorded())
    return read(recorded("results") / f"{name}.json")
