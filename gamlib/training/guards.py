"""What keeps a run from going on with numbers that mean nothing."""

import math
import warnings


class Diverged(Exception):
    """Training, or a test, came to numbers that are not finite; the message says where, and what to try."""


class SpikeGuard:
    """Warns where the loss leaps above its running mean: by more than the mean itself, and by more than 1."""

    QUIET = 20  # looks before the first warning: at its start a loss jumps, and that means nothing

    def __init__(self) -> None:
        self.mean = math.nan
        self.looks = 0

    def look(self, loss: float, step: int, lr: float) -> None:
        """Take in the mean loss of the latest steps."""
        self.looks += 1
        if self.looks > self.QUIET and loss > self.mean + max(self.mean, 1.0):
            warnings.warn(
                f"step {step:,}: the loss leapt to {loss:.3g} from about {self.mean:.3g}, at learning rate {lr:.3g}. "
                "If it does not come back, try a lower --lr or a longer --warm-up",
                stacklevel=2,
            )
            self.mean = loss  # one warning a leap
        self.mean = loss if math.isnan(self.mean) else 0.9 * self.mean + 0.1 * loss
