"""One batch's gradients and a whole test, for tests that compare numbers of processes.

    python tests/gradients_run.py OUT [MICRO_BATCH]

In float64 with BatchNorm in eval, one step on 30 images (shares of 4 processes differ). Writes OUT/rank.pt.
"""

import sys
from pathlib import Path

import torch
from training_run import data, network

from gamlib.training import Recipe, Speed, distributed
from gamlib.training.interrupt import Interrupt
from gamlib.training.metrics import means
from gamlib.training.trainer import Trainer

torch.set_num_threads(1)
distributed.start()
model = network().double()
model.fc[0].p = 0.0
micro_batch = int(sys.argv[2]) if len(sys.argv) > 2 else None
recipe = Recipe("one", epochs=1, lr=0.1, schedule="one-cycle", batch_size=30, micro_batch=micro_batch)
run = Trainer(model, data(), recipe, 0, Speed(precision="fp32"))
for _ in run.evaluator.run(Interrupt()):  # first: it is the network as built
    pass
ids = torch.arange(30)
(images, labels), *_ = run.data.train_batches([distributed.shard(ids)], 0, 0)
run.wrapped.eval()
before = [p.detach().clone() for p in run.parameters]
run.take_step(images, labels, Interrupt())
told = {
    "gradients": [p.grad for p in run.parameters],
    "moved": [p.detach() - old for p, old in zip(run.parameters, before, strict=True)],
    "sums": run.sums,
    "tested": run.evaluator.sums,
    "errors": means(run.evaluator.sums, "test"),
    "images": len(labels),
}
torch.save(told, Path(sys.argv[1]) / f"{distributed.rank()}.pt")
distributed.leave()
