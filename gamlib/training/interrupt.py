"""SIGTERM, SIGHUP, Ctrl-C and a notebook's stop button: the step is finished and saved, then the run stops."""

import signal
import threading
from types import FrameType

# SIGHUP: the terminal, or the connection to it, is closed. Windows has none.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop, and did. A notebook shows the message alone, without a traceback."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # as shells have it: 143 for SIGTERM, 130 for Ctrl-C

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Interrupt:
    """While it is open, a first signal only sets `number`. A second Ctrl-C breaks off at once.

    Python lets only the main thread have signal handlers; in another thread it does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            # nohup lets SIGHUP be ignored, and so it stays. Shells let background jobs ignore Ctrl-C; that is no wish.
            listened = [n for n in SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._ask) for number in listened}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number
