"""Each equation of the notebooks is tied by an id to the statement that implements it; both are checked here.

In a notebook, `<!-- equation: se.gate -->` stands under an equation, and `# equation: se.gate` at the end of the first
line of a statement in a later cell. That very statement is executed here, with inputs of the test's choice. What it
gives (a function: what it returns; a class: what its module does with the weights of gamlib's) must equal the slow,
literal version in reference.py. So must gamlib's own.
"""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import reference
import torch
from torch import Tensor, nn

from gamlib import BAM, CBAM, GAM, SE, TripletAttention, create_model
from gamlib.models.abn import AttentionMapGate
from gamlib.models.insert import Gentle
from gamlib.models.resnet import resnet20
from gamlib.training.metrics import cross_entropy

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MARK = re.compile(r"#.*\bequation: ([\w.]+)$")


def cells(path: Path) -> list[tuple[str, str]]:
    """Kind and text of each cell."""
    return [(c["cell_type"], "".join(c["source"])) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def statements(path: Path) -> list[tuple[int, ast.stmt, str]]:
    """All statements of a notebook's code: index of the cell, statement, first line."""
    found = []
    for index, (kind, text) in enumerate(cells(path)):
        if kind == "code" and "%pip" not in text:
            found += [(index, node, text.splitlines()[node.lineno - 1]) for node in ast.parse(text).body]
    return found


def run(node: ast.stmt, namespace: dict) -> None:
    exec(compile(ast.Module([node], []), "notebook", "exec"), namespace)


def tied(path: Path) -> dict[str, tuple[int, ast.stmt]]:
    """The statements that have an id: its cell's index, and the statement."""
    marked = [(MARK.search(line), index, node) for index, node, line in statements(path)]
    return {mark.group(1): (index, node) for mark, index, node in marked if mark}


def line_of(path: Path, equation: str) -> Callable:
    """The tied statement as a function of what stands in it."""
    namespace = {}
    for _, node, _ in statements(path):
        defines = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
        if defines or "= to_train(" in ast.unparse(node):  # classes derive from what it gives
            run(node, namespace)
    _, node = tied(path)[equation]

    def call(**inputs: object) -> object:
        inside = namespace | inputs
        run(node, inside)
        is_called = isinstance(node, ast.FunctionDef | ast.ClassDef)
        return inside[node.name](**inputs) if is_called else inside[node.targets[0].id]

    return call


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64) + 0.3


def with_random_weights(module: nn.Module) -> nn.Module:
    """In training, as notebooks run it: BatchNorm over the batch."""
    module = module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(drawn(*p.shape) / 3)
    return module


def with_weights_of(source: nn.Module, module: nn.Module) -> nn.Module:
    """A notebook's module with gamlib's weights, parameter by parameter."""
    module = module.double()
    with torch.no_grad():
        for ours, theirs in zip(module.parameters(), source.parameters(), strict=True):
            ours.copy_(theirs)
    return module


def linear_weights(first: nn.Linear, second: nn.Linear) -> dict[str, Tensor]:
    return {"w1": first.weight, "b1": first.bias, "w2": second.weight, "b2": second.bias}


def expand(gate: Tensor) -> Tensor:
    """(N, C) as (N, C, 1, 1)."""
    return gate[:, :, None, None]


# Each: the notebook's statement -> (what it gives, what gamlib gives where it has such a part, the literal version).


def scale(line):
    x, gate = drawn(2, 3, 4, 5), drawn(2, 3, 1, 1)
    return line(tiny=x, gate=gate), reference.scale_channels(x, gate[:, :, 0, 0])


def block_weights(block: nn.Module) -> dict[str, Tensor]:
    weights = [p for name, p in block.named_parameters() if "attention" not in name]
    return dict(zip(("w1", "g1", "b1", "w2", "g2", "b2"), weights, strict=True))


def literal_change(x: Tensor, block: nn.Module) -> Tensor:
    """What the block adds."""
    hidden = reference.relu(reference.batch_norm(reference.conv(x, block.conv1), block.bn1))
    return reference.batch_norm(reference.conv(hidden, block.conv2), block.bn2)


def residual_block(line):
    x, block = drawn(2, 16, 5, 6), with_random_weights(resnet20(10).layer1[0])
    ours = with_weights_of(block, line(channels=16))
    return ours(x), block(x), reference.relu(x + literal_change(x, block))


def se_squeeze(line):
    x = drawn(2, 3, 4, 5)
    return line(x=x), SE(3, reduction=1).channel_gate.squeeze(x)[:, :, 0, 0], reference.channel_means(x)


def se_gate(line):
    x, gate = drawn(2, 8, 4, 5), with_random_weights(SE(8, reduction=4)).channel_gate
    z = reference.channel_means(x)
    ours = line(z=z, w1=gate.fc1.weight, w2=gate.fc2.weight)
    return ours, gate(x)[:, :, 0, 0], reference.se_gate(x, gate)


def se_scale(line):
    x, module = drawn(2, 8, 4, 5), with_random_weights(SE(8, reduction=4))
    return line(x=x, gate=reference.se_gate(x, module.channel_gate)), module(x), reference.se(x, module)


def bam_channel(line):
    x, branch = drawn(3, 8, 4, 5), with_random_weights(BAM(8, reduction=4)).gate.channel_branch
    weights = linear_weights(branch.fc1, branch.fc2) | {"gain": branch.bn.weight, "shift": branch.bn.bias}
    return line(x=x, **weights), branch(x), expand(reference.bam_channel(x, branch))


def bam_spatial(line):
    x, branch = drawn(2, 9, 11, 12), with_random_weights(BAM(9, reduction=3)).gate.spatial_branch
    layers = line(channels=9, hidden=3).double()
    layers.load_state_dict(branch.layers.state_dict())
    return layers(x), branch(x), reference.bam_spatial(x, branch.layers)[:, None]


def bam_combine(line):
    x, module = drawn(2, 8, 4, 5), with_random_weights(BAM(8, reduction=4))
    channel, spatial = module.gate.channel_branch(x), module.gate.spatial_branch(x)
    return line(x=x, channel=channel, spatial=spatial), module(x), reference.bam(x, module)


def cbam_channel(line):
    x, gate = drawn(2, 8, 4, 5), with_random_weights(CBAM(8, reduction=4)).channel_gate
    ours = with_weights_of(gate, line(channels=8, reduction=4))
    return ours(x), gate(x), expand(reference.cbam_channel(x, gate))


def cbam_spatial(line):
    x, gate = drawn(2, 8, 9, 10), with_random_weights(CBAM(8, reduction=4)).spatial_gate
    return with_weights_of(gate, line())(x), gate(x), reference.pool_and_convolve(x, gate)[:, None]


def cbam_module(line):
    x, module = drawn(2, 8, 9, 10), with_random_weights(CBAM(8, reduction=4))
    return with_weights_of(module, line(channels=8, reduction=4))(x), module(x), reference.cbam(x, module)


def tam_pool(line):
    x = drawn(2, 5, 4, 6)
    return line(x=x), reference.z_pool(x)


def tam_gate(line):
    x, gate = drawn(2, 5, 9, 8), with_random_weights(TripletAttention(5)).hw_gate
    literal = reference.pool_and_convolve(x, gate)[:, None]
    return line(x=x, weight=gate.conv.weight, gain=gate.bn.weight, shift=gate.bn.bias), gate(x), literal


def tam_module(line):
    x, module = drawn(2, 5, 9, 8), with_random_weights(TripletAttention(5))
    return with_weights_of(module, line(channels=5))(x), module(x), reference.tam(x, module)


def abn_map(line):
    a, gate = drawn(2, 5, 6, 7), with_random_weights(AttentionMapGate(5))
    literal = reference.abn_map(a, gate)[:, None]
    return line(a=a, weight=gate.conv.weight, gain=gate.bn.weight, shift=gate.bn.bias), gate(a), literal


def abn_scale(line):
    x, m = drawn(2, 5, 6, 7), drawn(2, 1, 6, 7).sigmoid()
    return line(trunk=x, M=m), x + reference.scale_places(x, m[:, 0])


def abn_loss(line):
    logits, attention_logits, labels = drawn(6, 4), drawn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    gamlibs = cross_entropy((logits, attention_logits), labels)
    literal = reference.cross_entropy(logits, labels) + reference.cross_entropy(attention_logits, labels)
    return line(logits=logits, attention_logits=attention_logits, labels=labels), gamlibs, literal


def gam_equation_1(line):
    x, module = drawn(2, 8, 4, 5), with_random_weights(GAM(8, reduction=4, spatial=False))
    return line(F1=x, Mc=reference.gam_channel(x, module.channel_gate)), module(x), reference.gam(x, module)


def gam_equation_2(line):
    x, module = drawn(2, 8, 9, 8), with_random_weights(GAM(8, reduction=4, channel=False))
    return line(F2=x, Ms=reference.gam_spatial(x, module.spatial_gate)), module(x), reference.gam(x, module)


def gam_channel(line):
    x, module = drawn(2, 8, 4, 5), with_random_weights(GAM(8, reduction=4))
    literal = reference.gam_channel(x, module.channel_gate)
    first, _, second = module.channel_gate.mlp
    return line(x=x, **linear_weights(first, second)), module.channel_gate(x), literal


def gam_spatial(line):
    x, module = drawn(2, 8, 9, 8), with_random_weights(GAM(8, reduction=4))
    ours = with_weights_of(module.spatial_gate, line(channels=8, reduction=4))
    return ours(x), module.spatial_gate(x), reference.gam_spatial(x, module.spatial_gate)


def gam_module(line):
    x, module = drawn(2, 8, 9, 8), with_random_weights(GAM(8, reduction=4))
    return with_weights_of(module, line(channels=8, reduction=4))(x), module(x), reference.gam(x, module)


def gam_block(line):
    block = with_random_weights(create_model("resnet20", "gam", {"reduction": 4}).layer1[0])
    x = drawn(2, 16, 9, 8)
    literal = reference.relu(x + reference.gam(literal_change(x, block), block.attention))
    return line(x=x, attention=block.attention, **block_weights(block)), block(x), literal


def standard_error(line):
    error, images = 18.67, 500
    wrong = torch.tensor([1.0] * 1867 + [0.0] * 8133, dtype=torch.float64)
    literal = 100 * ((wrong - wrong.mean()) ** 2).mean().sqrt() / torch.tensor(500.0, dtype=torch.float64).sqrt()
    return torch.tensor(line(error=error, images=images), dtype=torch.float64), literal


def grad_cam(line):
    features, gradients = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5) - 0.3
    return line(features=features, gradients=gradients), reference.grad_cam(features, gradients)


def gentle(line):
    x, module = drawn(2, 8, 4, 5), with_random_weights(Gentle(SE(8, reduction=4)))
    a, literal = module.strength, reference.se(x, module.attention)
    return line(x=x, attention=module.attention, strength=a), module(x), (1 - a) * x + a * literal


EQUATIONS = {
    "attention.scale": scale,
    "baseline.block": residual_block,
    "se.squeeze": se_squeeze,
    "se.gate": se_gate,
    "se.scale": se_scale,
    "bam.channel": bam_channel,
    "bam.spatial": bam_spatial,
    "bam.combine": bam_combine,
    "cbam.channel": cbam_channel,
    "cbam.spatial": cbam_spatial,
    "cbam.module": cbam_module,
    "tam.pool": tam_pool,
    "tam.gate": tam_gate,
    "tam.module": tam_module,
    "abn.map": abn_map,
    "abn.scale": abn_scale,
    "abn.loss": abn_loss,
    "gam.equation_1": gam_equation_1,
    "gam.channel": gam_channel,
    "gam.equation_2": gam_equation_2,
    "gam.spatial": gam_spatial,
    "gam.module": gam_module,
    "gam.block": gam_block,
    "training.standard_error": standard_error,
    "explain.grad_cam": grad_cam,
    "own.gentle": gentle,
}
PLACES = {equation: path for path in NOTEBOOKS for equation in tied(path)}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_the_statement_computes_the_equation(equation):
    torch.manual_seed(0)
    *ours, literal = EQUATIONS[equation](line_of(PLACES[equation], equation))
    for value in ours:
        assert value.shape == literal.shape
        assert torch.allclose(value, literal, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_equation_has_an_id_and_every_id_a_statement_after_it(path):
    stated = {}
    for index, (kind, text) in enumerate(cells(path)):
        if kind == "markdown":
            stated |= dict.fromkeys(re.findall(r"<!-- equation: ([\w.]+) -->", text), index)
            for after in text.split("$$")[2::2]:
                assert after.startswith("\n<!-- equation: "), "an equation that no test knows"
    statements_of = tied(path)
    marks = [m.group(1) for _, text in cells(path) for line in text.splitlines() if (m := MARK.search(line))]
    assert sorted(marks) == sorted(statements_of), "a mark that stands at no statement's first line, or twice"
    assert stated.keys() == statements_of.keys()
    assert all(stated[equation] < statements_of[equation][0] for equation in stated)
    assert stated.keys() <= EQUATIONS.keys()


def test_every_tested_equation_stands_in_one_notebook():
    assert sorted(equation for path in NOTEBOOKS for equation in tied(path)) == sorted(EQUATIONS)
