"""What the notebooks' set-up and exercises use."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gamlib.course.checks import check
    from gamlib.course.notebook import show, start
    from gamlib.course.profiles import profile

__all__ = ["check", "profile", "show", "start"]


def __getattr__(name: str) -> object:
    if name in ("show", "start"):  # matplotlib comes in with them
        from gamlib.course import notebook

        return getattr(notebook, name)
    if name == "profile":
        from gamlib.course.profiles import profile

        return profile
    if name == "check":
        from gamlib.course.checks import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
