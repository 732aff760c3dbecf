"""Run as a script by test_shapes.py: exercises gamlib with every annotation checked while it runs."""

from jaxtyping import TypeCheckError, install_import_hook

with install_import_hook("gamlib", "beartype.beartype"):
    import torch

    from gamlib import create_attention, create_model, insert_attention, list_attention
    from gamlib.cost import count_macs
    from gamlib.data import augment, puzzles
    from gamlib.paper import reproduce
    from gamlib.training import Recipe, evaluate, fit

x = torch.randn(2, 16, 5, 6)
for name in list_attention():
    create_attention(name, 16)(x)
    gentle = insert_attention(create_model("resnet20", num_classes=10), name, where="block", gentle=True)
    gentle(torch.randn(2, 3, 16, 16))
for name in ("none", "abn"):
    create_model("resnet20", name, num_classes=10)(torch.randn(2, 3, 16, 16))
count_macs(create_model("mobilenet_v2", "bam"), (3, 64, 64), "paper")
next(iter(reproduce()))
images, labels = puzzles.make("joint", "test")
augment.shift_and_flip(images, labels, seed=0, epoch=0)
data = puzzles.dataset("joint").first(64)
model = create_model("probe", "gam", {"reduction": 4}, num_classes=10)
fit(model, data, Recipe("tiny", epochs=1, lr=0.1, schedule="one-cycle", batch_size=32))
evaluate(model, data)

# The hook is on: a gate that is handed a 3-D tensor says so by its annotation.
try:
    create_attention("se", 16).channel_gate(x[0])
except TypeCheckError:
    print("every annotation holds")
