"""Trains several attentions, with several seeds, under one recipe, and sets them side by side."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gamlib import results
from gamlib._checks import check_seed
from gamlib._files import file_name
from gamlib.attention import label_of, variant
from gamlib.cost import count_macs, count_parameters, nearest_width
from gamlib.data import Data
from gamlib.models import create_model, fitting_stem, nth_width
from gamlib.results import Result
from gamlib.results.charts import write_curves
from gamlib.training import Recipe, checkpoint, distributed, fit


def compare(
    datasets: Sequence[Data],
    model: str,
    attentions: Sequence[str],
    seeds: Sequence[int],
    recipe: Recipe,
    out: Path,
    reduction: int | None = None,
    control: str | None = None,
    stem: str | None = None,
    **options: object,
) -> list[Result]:
    """Train `model` with each attention and each seed on each data set; unfinished runs go on, finished ones are read.

    What is named twice is trained once. compare.json and compare.png hold the runs of the last call.

    A seed decides the backbone's weights, the attention's, and the order of the images, so that networks of one seed
    start from one backbone.

    Args:
        datasets: from `gamlib.data.load`.
        model: a name of `list_models()`.
        attentions: names: "none", those of `list_attention()`, "abn"; with options after a colon where they should
            differ from the usual ones, such as "gam:kernel_size=9,shuffle=after".
        seeds: one run each.
        recipe: for all runs.
        out: folder; gets a folder for each run, compare.json and compare.png, both renewed after each run.
        reduction: r of the mechanisms that have one, where they don't say it; None leaves each its own default.
        control: an attention whose price is spent on size instead: two plain networks are trained, too, widened to
            its parameters and to its MACs (one, where the same width comes nearest to both).
        stem: of all networks; None is the one that fits the size of the images (see `gamlib.models.fitting_stem`).
        options: passed on to `fit`: resume, speed, save_every ...

    Raises:
        ValueError: for an unknown name or a bad value, or two networks that would have the same label, before
            anything is trained; for a compare.json in `out` that another program wrote.
        CheckpointError: where `out` can't be made, or as `fit` does.
    """
    for seed in seeds:
        check_seed(seed)
    datasets = {data.name: data for data in datasets}.values()
    networks = {data.name: plan(data, model, attentions, reduction, control, stem) for data in datasets}
    checkpoint.make_folder(out)
    if (out / "compare.json").exists():
        results.read(out / "compare.json")  # another program's is not written over
    elif (out / "compare.png").exists():
        raise ValueError(f"{out} holds a compare.png without a compare.json, which would be lost; use another folder")
    runs = []
    for data in datasets:
        for seed in dict.fromkeys(seeds):
            for label, arguments in networks[data.name].items():
                torch.manual_seed(seed)
                network = create_model(**arguments)
                own = arguments["attention_options"].get("reduction", reduction)
                name = label if own == reduction else f"{label}-reduction{own}"
                folder = out / file_name(data.name) / file_name(name, f"seed{seed}")
                runs.append(fit(network, data, recipe, seed, folder, **options))
                if distributed.is_main_process():
                    results.save(runs, out / "compare.json")
                    write_curves(runs, out / "compare.png")
    return runs


def plan(
    data: Data, model: str, attentions: Sequence[str], reduction: int | None, control: str | None, stem: str | None
) -> dict[str, dict[str, object]]:
    """For each network its label and create_model's arguments.

    Each is built once on the meta device: raises create_model's ValueError for the first that can't be.
    """

    def arguments(attention: str, **width: float) -> dict[str, object]:
        name, options = variant(attention, reduction)
        return {
            "name": model,
            "attention": name,
            "attention_options": options,
            "num_classes": data.num_classes,
            "stem": stem or fitting_stem(model, data.image_shape),
        } | width

    def build(**arguments: object):
        with torch.device("meta"):
            return create_model(**arguments)

    networks = {}
    for network in map(arguments, attentions):
        label = label_of(build(**network).spec)
        if networks.setdefault(label, network) != network:
            raise ValueError(
                f"two of the networks would both be called {label!r} (a label leaves out the reduction); train them in "
                "two calls, into two folders"
            )
    if control == "none":
        raise ValueError("the control for 'none' would be 'none' itself; name an attention")
    if control is not None:
        for count in (count_parameters, lambda network: count_macs(network, data.image_shape)):
            target = count(build(**arguments(control)))
            plain = nearest_width(lambda n: build(**arguments("none", width=nth_width(model, n))), count, target)
            network = arguments("none", width=nth_width(model, plain))
            networks[label_of(network)] = network
    return networks
