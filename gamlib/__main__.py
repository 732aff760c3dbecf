"""The command line. Only what must work where a package is missing stands here; the commands are in cli/."""

import signal
import sys
import threading
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    in_front = threading.current_thread() is threading.main_thread()
    # PyTorch takes seconds to come in. Until then, Ctrl-C ends the process without a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_front else None
    try:
        from gamlib import cli
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a package is missing, or broken
        if argv[:1] == ["doctor"]:
            from gamlib import doctor

            return doctor.report()
        missing = isinstance(error, ModuleNotFoundError)
        reason = f"the package {error.name} is missing" if missing else f"a package can't be imported ({error})"
        print(f"gamlib: {reason}; `gamlib doctor` says what to install", file=sys.stderr)
        return 2
    finally:
        if in_front:
            signal.signal(signal.SIGINT, before)
    return cli.run(argv)


if __name__ == "__main__":
    sys.exit(main())
