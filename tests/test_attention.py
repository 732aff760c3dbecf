"""Every mechanism against its literal reference, and on every road that a tensor can take through PyTorch."""

import copy
import warnings

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import CASES, IDS, LAYOUTS, build, draw
from torch import fx, nn

from gamlib import GAM, create_attention
from gamlib.attention._checks import init_convs

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
many = settings(max_examples=15, deadline=None)


@every_case
@many
@given(
    n=st.integers(1, 3),
    c=st.sampled_from([8, 16, 24]),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_the_literal_reference(name, options, n, c, h, w, layout, dtype):
    module = build(name, options, c, dtype)
    x = draw((n, c, h, w), layout, dtype)
    with torch.no_grad():
        expected = getattr(reference, name)(x, module)
        torch.testing.assert_close(module(x), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@every_case
@many
@given(n=st.integers(2, 4), h=st.integers(2, 7), w=st.integers(2, 7), layout=st.sampled_from(LAYOUTS))
def test_equals_the_literal_reference_in_training(name, options, n, h, w, layout):
    module = build(name, options, 16, torch.float64).train()
    x = draw((n, 16, h, w), layout, torch.float64)
    with torch.no_grad():
        expected = getattr(reference, name)(x, module)
        torch.testing.assert_close(module(x), expected, rtol=1e-11, atol=1e-11)


@every_case
def test_input_is_left_alone_and_every_parameter_gets_a_gradient(name, options):
    module = build(name, options).train()
    x = torch.randn(4, 16, 6, 5)
    before = x.clone()
    (module(x) * torch.randn_like(x)).sum().backward()
    assert torch.equal(x, before)
    for key, parameter in module.named_parameters():
        # A bias in front of a BatchNorm has none to get: the BatchNorm takes it out again.
        if key in ("gate.channel_branch.fc1.bias", *(f"gate.spatial_branch.layers.{i}.bias" for i in (0, 3, 6))):
            continue
        assert parameter.grad.abs().sum() > 0, key


@every_case
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_keeps_the_memory_format(name, options, training, memory_format):
    module = build(name, options).to(memory_format=memory_format).train(training)
    x = torch.randn(2, 16, 6, 5).to(memory_format=memory_format)
    assert module(x).is_contiguous(memory_format=memory_format)


@every_case
def test_autocast(name, options):
    module = build(name, options)
    x = torch.randn(2, 16, 6, 5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == x.dtype
    torch.testing.assert_close(y, module(x).detach(), rtol=0.05, atol=0.05)  # bfloat16 has 8 bits


@every_case
def test_compiles_as_one_graph(name, options):
    torch._dynamo.reset()
    module = build(name, options)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((2, 16, 6, 5), (3, 16, 7, 9)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), module(x))


@every_case
def test_exports_for_every_batch_height_and_width(name, options):
    module = build(name, options)
    # torch 2.6 wants to know that a side squared fits 31 bits
    dims = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", max=1024), 3: torch.export.Dim("w", max=1024)}
    program = torch.export.export(module, (torch.randn(2, 16, 8, 9),), dynamic_shapes=(dims,)).module()
    for shape in ((1, 16, 7, 7), (5, 16, 12, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(program(x), module(x))


def test_se_agrees_with_timm():
    from timm.layers import SEModule

    ours = build("se", {"reduction": 4}, channels=32)
    theirs = SEModule(32, rd_channels=8, bias=False)
    with torch.no_grad():
        theirs.fc1.weight.copy_(ours.channel_gate.fc1.weight[:, :, None, None])
        theirs.fc2.weight.copy_(ours.channel_gate.fc2.weight[:, :, None, None])
    x = torch.randn(3, 32, 7, 5)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


@every_case
def test_gates_lie_between_0_and_1_and_broadcast(name, options):
    module = build(name, options)
    gates = {key: gate for key, gate in module.named_modules() if key.endswith("gate") and gate is not None}
    assert gates
    seen = {}
    for key, gate in gates.items():
        gate.register_forward_hook(lambda _, args, out, key=key: seen.update({key: (args[0].shape, out)}))
    module(torch.randn(2, 16, 6, 5))
    for key, (shape, gate) in seen.items():
        assert gate.min() >= 0, key
        assert gate.max() <= 1, key
        assert torch.broadcast_shapes(shape, gate.shape) == shape, key
    assert seen.keys() == gates.keys()


def test_momentum_of_the_spatial_gates_norms():
    """Not seen in eval: CBAM's and TAM's official code averages over about 100 batches."""
    for name in ("cbam", "tam"):
        norms = [m for m in build(name, {"reduction": 4} if name == "cbam" else {}).modules() if hasattr(m, "momentum")]
        assert norms
        assert {norm.momentum for norm in norms} == {0.01}


def test_all_mechanisms_start_alike():
    for name in ("bam", "cbam", "tam", "gam"):
        module = build(name, {}) if name == "tam" else build(name, {"reduction": 2}, channels=64)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 500:
                fan_out = layer.out_channels * layer.kernel_size[0] ** 2
                assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)


def test_gams_spatial_logits_start_as_the_initialisation_says():
    """Fan out: a standard deviation of 1 / sqrt(r); fan in, as others have it: 1."""
    x = torch.randn(1, 256, 40, 40)
    for reduction in (4, 16):
        gate = GAM(256, reduction=reduction).spatial_gate
        gate.sigmoid = torch.nn.Identity()
        inner = (..., slice(6, -6), slice(6, -6))  # where no window hangs over the edge
        assert gate(x)[inner].std().item() == pytest.approx(reduction**-0.5, rel=0.15)
        for conv in (gate.conv1, gate.conv2):
            torch.nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
        assert gate(x)[inner].std().item() == pytest.approx(1, rel=0.15)


def test_init_convs_covers_conv1d():
    layer = torch.nn.Conv1d(8, 32, 5)
    init_convs(torch.nn.Sequential(layer))
    assert layer.bias.count_nonzero() == 0
    assert layer.weight.std().item() == pytest.approx((2 / (32 * 5)) ** 0.5, rel=0.1)


@every_case
@pytest.mark.parametrize("training", [False, True])
def test_torch_fx_traces(name, options, training):
    module = build(name, options, 16).train(training)
    traced = fx.symbolic_trace(copy.deepcopy(module))
    x = torch.randn(2, 16, 5, 7)
    torch.testing.assert_close(traced(x), module(x))
    with pytest.raises(ValueError, match=r"expected an input of shape \(N, 16, H, W\), got \(2, 15, 5, 7\)"):
        traced(torch.randn(2, 15, 5, 7))


@every_case
def test_torch_jit_traces(name, options):
    module, x = build(name, options, 16).eval(), torch.randn(2, 16, 5, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and it warns of the checks' branches
        traced = torch.jit.trace(module, x)
    assert torch.equal(traced(x), module(x))


@pytest.mark.parametrize("name", ["cbam", "tam", "gam"])
def test_one_value_per_channel_in_training_is_a_sentence(name):
    module = create_attention(name, 16)
    with pytest.raises(ValueError, match="BatchNorm needs more than one value per channel, got one image of 1 x 1"):
        module(torch.randn(1, 16, 1, 1))
    assert module.eval()(torch.randn(1, 16, 1, 1)).shape == (1, 16, 1, 1)


def test_the_signature_that_circulates_is_told_what_to_write():
    with pytest.raises(TypeError, match=r"write GAM\(64\), with other arguments by name.* got 64 beside the channels"):
        GAM(64, 64)
