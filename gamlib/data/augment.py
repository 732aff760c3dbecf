"""Random shifts and flips of a whole batch at once, the same for a sample whatever the order of work.

Every random number is a hash of (seed, epoch, sample id): no generator, no state. A run that is resumed, shuffled
otherwise or spread over several processes augments each sample just as before.
"""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional as F


def shift_and_flip(
    images: UInt8[Tensor, "n c h w"], ids: Int64[Tensor, " n"], seed: int, epoch: int, padding: int = 4
) -> UInt8[Tensor, "n c h w"]:
    """Each image padded with `padding` black pixels, cropped back at a random place, and flipped half of the time.

    Args:
        images: uint8 (N, C, H, W).
        ids: int64 (N,), each image's number in its data set.
        seed, epoch: with the id they decide shift and flip.
        padding: largest shift, in pixels, in each direction.

    Returns:
        uint8 (N, C, H, W), on the images' device.
    """
    count, _, height, width = images.shape
    bits = random_bits(ids, seed, epoch)
    span = 2 * padding + 1
    dy, dx, flip = bits % span, bits // span % span, bits // span**2 % 2  # (N,) each
    padded = F.pad(images, (padding,) * 4)  # (N, C, H + 2p, W + 2p)
    both = torch.cat([padded, padded.flip(3)])  # (2N, ...): image n, and at N + n the same flipped
    windows = both.unfold(2, height, 1).unfold(3, width, 1).movedim(1, 3)  # (2N, 2p + 1, 2p + 1, C, H, W), a view
    n = torch.arange(count, device=images.device) + count * flip
    return windows[n, dy, torch.where(flip == 1, 2 * padding - dx, dx)]  # (N, C, H, W)


def random_bits(ids: Int64[Tensor, " n"], seed: int, epoch: int) -> Int64[Tensor, " n"]:
    """48 random bits for each id: SplitMix64 (Steele, Lea, Flood 2014), first of seed and epoch, then with the id."""
    # A large odd factor keeps seeds apart: without it, seed 0's second epoch would be seed 1's first.
    start = (seed * 0xD1342543DE82EF95 + epoch + 2**63) % 2**64 - 2**63
    return _mix(_mix(torch.full_like(ids, start)) + ids) & (2**48 - 1)


def _mix(z: Tensor) -> Tensor:
    # SplitMix64's constants, written as the signed 64-bit numbers that torch has; products wrap around.
    z = z + -7046029254386353131
    z = (z ^ _shift_right(z, 30)) * -4658895280553007687
    z = (z ^ _shift_right(z, 27)) * -7723592293110705685
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & (2 ** (64 - bits) - 1)  # torch's shift copies the sign bit; SplitMix64's does not
