"""Measures what the training engine's speed-ups are worth here, each as a ratio of two things in one run.

    python tests/measure_training.py [DATA_ROOT]

Nothing else should run beside it. CIFAR-100 is read from the data root where it is there; its place is taken by random
images of the same form where it is not, since their values do not matter here.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from gamlib import create_model
from gamlib.data import DataError, Dataset, cifar100, imagenet
from gamlib.data.resize import resize_tree
from gamlib.training import Speed, recipes
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer


def seconds(function, repeats=3) -> float:
    """The best of several times; the first call is a warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def cifar(root) -> Dataset:
    try:
        return cifar100.dataset(root)
    except DataError:
        images, labels = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8), torch.randint(100, (50_000,))
        split = (images, labels, images[:10_000], labels[:10_000])
        return Dataset("random", *split, 100, cifar100.MEAN, cifar100.STD, True, {})


class PILPipeline(torch.utils.data.Dataset):
    """CIFAR-100 as torchvision hands it out: an image at a time, by way of PIL."""

    def __init__(self, data: Dataset, count: int) -> None:
        self.images = data.train_images[:count].permute(0, 2, 3, 1).numpy()
        self.labels = data.train_labels[:count].tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def loading_cifar(data: Dataset) -> float:
    """One core each: torchvision's pipeline over ours, per image, up to a normalised float batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    mean = torch.tensor(data.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(data.std).view(1, 3, 1, 1) * 255
    batches = torch.randperm(data.train_count).split(128)

    def ours():
        for images, _ in data.train_batches(batches, 0, 0):
            ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    theirs = DataLoader(PILPipeline(data, 5000), batch_size=128, shuffle=True)
    ratio = (seconds(lambda: list(theirs), 1) / 5000) / (seconds(ours) / data.train_count)
    torch.set_num_threads(threads)
    return ratio


def a_step(data: Dataset, speed: Speed, steps: int = 12) -> float:
    """Seconds of a training step of resnet20 + GAM, batch 128."""
    torch.manual_seed(0)
    model = create_model("resnet20", "gam", {"reduction": 4}, num_classes=100)
    epoch = Trainer(model, data, recipes.get("laptop"), 0, speed).train_epoch(Interrupt())
    return seconds(lambda: [next(epoch) for _ in range(steps)]) / steps


def loading_photographs(folder: Path) -> float:
    """Loading the originals over loading the same pictures resized, in one process.

    500 x 375 pixels and about 110 kB each, which is what ImageNet's files have on average.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", 600), ("val", 4)):
        (folder / "originals" / split / "class").mkdir(parents=True)
        for i in range(count):
            coarse = rng.integers(256, size=(24, 32, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
            picture = np.clip(picture + rng.normal(0, 15.5, picture.shape), 0, 255).astype(np.uint8)  # fine detail, too
            Image.fromarray(picture).save(folder / "originals" / split / "class" / f"{i}.jpg", quality=92)
    resize_tree(folder / "originals", folder / "resized")
    times = {}
    for name in ("originals", "resized"):
        photos = imagenet.dataset(folder / name)
        batches = torch.arange(photos.train_count).split(50)
        files = imagenet._Files(
            photos.root, photos.train_files, imagenet.train_transform(224), torch.arange(photos.train_count)
        )
        times[name] = seconds(lambda batches=batches, files=files: [files[int(i)] for ids in batches for i in ids])
    return times["originals"] / times["resized"]


def waiting(photos: imagenet.ImageFolders) -> float:
    """The share of ResNet-18's steps at 224 x 224 that is spent waiting for pictures, two workers decoding."""
    torch.manual_seed(0)
    recipe = recipes.Recipe("wait", epochs=1, lr=0.05, schedule="one-cycle", batch_size=32)
    run = Trainer(create_model("resnet18", num_classes=photos.num_classes), photos, recipe, 0, Speed())
    for i, _ in enumerate(run.train_epoch(Interrupt())):
        if i == 0:  # the workers start
            run.seconds = run.waited = 0.0
        if i == 12:
            break
    return run.waited / run.seconds


def main() -> None:
    data = cifar(sys.argv[1] if len(sys.argv) > 1 else None)
    told = {"cifar: torchvision's PIL pipeline / ours, per core": loading_cifar(data)}
    plain = a_step(data, Speed(precision="fp32", channels_last=False, fused=False))
    for name, speed in {
        "bf16, channels_last, fused": Speed(precision="bf16"),
        "fp32, channels_last, fused": Speed(precision="fp32"),
        "bf16, NCHW, fused": Speed(precision="bf16", channels_last=False),
    }.items():
        told[f"step of resnet20 + GAM: fp32, NCHW, unfused / {name}"] = plain / a_step(data, speed)
    with tempfile.TemporaryDirectory() as folder:
        told["photographs: originals / resized"] = loading_photographs(Path(folder))
        told["share of a step spent waiting for photographs"] = waiting(imagenet.dataset(Path(folder) / "originals"))
    print(json.dumps({name: round(value, 3) for name, value in told.items()}, indent=1))


if __name__ == "__main__":
    main()
