"""What the notebooks' set-up and exercises use."""


def __getattr__(name: str) -> object:
    if name in ("show", "start"):  # matplotlib comes in with them; `gamlib doctor` must run without it
        from gamlib.course import notebook

        return getattr(notebook, name)
    if name == "check":
        from gamlib.course.checks import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
