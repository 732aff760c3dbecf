"""What keeps a run from going on with numbers that mean nothing."""

import math
import warnings


class Diverged(Exception):
    """Training, or a test, came to numbers that are not finite; the message says where, and what to try."""


class SpikeGuard:
    """Warns where the loss leaps up and stays there: its mean over the last few looks against that over many.

    A leap is more than the long mean itself, and more than 1. It warns once, until the loss has come back.
    """

    QUIET = 20  # looks before the first warning: at its start a loss jumps, and that means nothing

    def __init__(self, calmer: str = "a lower --lr") -> None:
        self.calmer = calmer  # what to try (see `Recipe.calmer`)
        self.looks = 0
        self.few = self.many = math.nan  # running means over about 5 and 50 looks
        self.leapt = False

    def look(self, loss: float, step: int, lr: float) -> None:
        """Take in the mean loss of the latest steps."""
        self.looks += 1
        self.few = loss if self.looks == 1 else 0.8 * self.few + 0.2 * loss
        self.many = loss if self.looks == 1 else 0.98 * self.many + 0.02 * loss
        before, self.leapt = self.leapt, self.few > self.many + max(self.many, 1.0)
        if self.leapt and not before and self.looks > self.QUIET:
            warnings.warn(
                f"step {step:,}: the loss has leapt to {self.few:.3g} from about {self.many:.3g}, at learning rate "
                f"{lr:.3g}. If it does not come back, try {self.calmer}",
                stacklevel=2,
            )
