"""The command line. Only what must work where a package is missing stands here; the commands are in cli/."""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        from gamlib import cli
    except ModuleNotFoundError as error:
        if argv[:1] == ["doctor"]:
            from gamlib import doctor

            return doctor.report()
        print(f"gamlib: the package {error.name} is missing; `gamlib doctor` says what to install", file=sys.stderr)
        return 2
    return cli.run(argv)


if __name__ == "__main__":
    sys.exit(main())
