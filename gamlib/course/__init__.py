"""What the notebooks' set-up and exercises use."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gamlib.course.checks import check, to_train
    from gamlib.course.modules import gives_the_same
    from gamlib.course.notebook import show, start
    from gamlib.course.profiles import profile

__all__ = ["check", "gives_the_same", "profile", "show", "start", "to_train"]


def __getattr__(name: str) -> object:
    if name in ("show", "start"):  # matplotlib comes in with them
        from gamlib.course import notebook

        return getattr(notebook, name)
    if name == "profile":
        from gamlib.course.profiles import profile

        return profile
    if name == "gives_the_same":
        from gamlib.course.modules import gives_the_same

        return gives_the_same
    if name in ("check", "to_train"):
        from gamlib.course import checks

        return getattr(checks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
