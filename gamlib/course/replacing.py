"""Runs a right answer with one of its operations replaced."""

from collections.abc import Callable, Mapping

from torch.overrides import TorchFunctionMode

# PyTorch fills in these defaults of its functions before it hands a call on.
DEFAULTS = ("inplace", "size_average", "reduce", "reduction", "ignore_index", "label_smoothing", "momentum", "eps")


class Replacing(TorchFunctionMode):
    """While it is open, calls of PyTorch's functions of these names go to others, with the same arguments.

    Args:
        others: by the name of a function, such as "sigmoid"; None leaves the call as it is, and counts it.
        places: which calls of each are replaced, counted from 0; None replaces all.
    """

    def __init__(self, others: Mapping[str, Callable | None], places: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.others, self.places = others, places
        self.counts = dict.fromkeys(others, 0)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in self.others:
            if self.others[name] is not None and (self.places is None or self.counts[name] in self.places):
                function = self.others[name]
                kwargs = {k: v for k, v in (kwargs or {}).items() if k not in DEFAULTS and v is not None}
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))
