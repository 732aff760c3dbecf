"""What the mechanisms mean, as properties: what each gate sees, and what it is blind to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import build
from torch import Tensor, nn

from gamlib import GAM


def logits_of(gate: nn.Module, x: Tensor) -> Tensor:
    """What goes into a gate's sigmoid. A saturated sigmoid would hide what the gate depends on."""
    seen = []
    handle = gate.sigmoid.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    gate(x)
    handle.remove()
    return seen[0]


def influence(gate: nn.Module, x: Tensor, output: tuple[int, ...]) -> Tensor:
    """|d logits[output] / d x|, summed over the batch: where it is zero, the gate sees nothing."""
    x = x.clone().requires_grad_()
    logits_of(gate, x)[output].sum().backward()
    return x.grad.abs().sum(0)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_gams_channel_gate_commutes_with_any_permutation_of_pixels(h, w, seed):
    gate = build("gam", {"reduction": 4}).double().channel_gate
    x = torch.randn(2, 16, h, w, dtype=torch.float64)
    order = torch.randperm(h * w, generator=torch.Generator().manual_seed(seed))

    def permuted(t: Tensor) -> Tensor:
        return t.flatten(2)[:, :, order].view_as(t)

    torch.testing.assert_close(gate(permuted(x)), permuted(gate(x)), rtol=1e-12, atol=1e-12)


def test_gams_channel_gate_never_mixes_pixels():
    gate = build("gam", {"reduction": 4}).channel_gate
    seen = influence(gate, torch.randn(2, 16, 5, 6), (slice(None), slice(None), 2, 3)).sum(0)
    assert seen[2, 3] > 0
    seen[2, 3] = 0
    assert seen.max() == 0


@pytest.mark.parametrize("name", ["se", "cbam"])
def test_channel_gates_of_se_and_cbam_are_constant_over_pixels_and_blind_to_their_order(name):
    gate = build(name, {"reduction": 4}).channel_gate
    x = torch.randn(2, 16, 5, 6)
    out = gate(x)
    assert out.shape == (2, 16, 1, 1)
    order = torch.randperm(30)
    torch.testing.assert_close(gate(x.flatten(2)[:, :, order].view_as(x)), out)


# (mechanism, its gate, half the side of the window that its logits see)
@pytest.mark.parametrize(
    ("name", "gate", "reach"),
    [("cbam", "spatial_gate", 3), ("gam", "spatial_gate", 6), ("bam", "gate.spatial_branch", 8)],
)
def test_window_of_the_spatial_gates(name, gate, reach):
    # Random weights could cancel by chance, and a ReLU could be shut: positive ones can't and isn't.
    module = build(name, {"reduction": 4}).double()
    for parameter in module.parameters():
        parameter.data.abs_()
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.running_mean.zero_()
    x = torch.rand(1, 16, 21, 23, dtype=torch.float64).requires_grad_()
    submodule = module.get_submodule(gate)
    logits = submodule(x) if name == "bam" else logits_of(submodule, x)
    logits[0, 0, 10, 11].backward()
    rows, cols = (x.grad[0].abs().sum(0) > 0).nonzero().T
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10 - reach, 10 + reach, 11 - reach, 11 + reach)


def test_tams_column_gate_sees_the_whole_column():
    gate = build("tam", {}).cw_gate
    x = torch.rand(1, 30, 16, 20).requires_grad_()  # (N, H, C, W): rotated, rows first
    logits_of(gate, x)[0, 0, 8, 10].backward()
    assert (x.grad[0].abs().sum((1, 2)) > 0).all()  # every one of the 30 rows


# findings from gradients: channels that a gate's logits see, and the share of gates that see their own channel
SEEN = [
    (64, None, 16, 1.0),
    (64, "between", 16, 1.0),  # one hidden channel a group: the shuffle is the identity
    (64, "after", 16, 0.25),
    (128, None, 32, 1.0),
    (128, "between", 64, 0.5),
    (128, "after", 32, 0.25),
    (256, None, 64, 1.0),
    (256, "between", 256, 1.0),
    (256, "after", 64, 0.25),
]


@pytest.mark.parametrize(("channels", "shuffle", "sees", "own"), SEEN)
def test_what_grouped_gam_sees(channels, shuffle, sees, own):
    gate = GAM(channels, reduction=16, groups=4, shuffle=shuffle).double().spatial_gate
    for parameter in gate.parameters():  # positive weights: nothing cancels, no ReLU is shut
        parameter.data.abs_()
    gate.eval()
    x = torch.rand(1, channels, 3, 3, dtype=torch.float64).requires_grad_()
    centre = logits_of(gate, x)[0, :, 1, 1]
    seen = torch.stack(
        [torch.autograd.grad(centre[c], x, retain_graph=True)[0][0].sum((1, 2)) > 0 for c in range(channels)]
    )  # (gate's channel, input channel)
    assert seen.sum(1).tolist() == [sees] * channels
    assert seen.diagonal().double().mean() == own
