"""gamlib compare: several networks and seeds, side by side."""

import argparse
from pathlib import Path

from gamlib import data, results
from gamlib._checks import check_seed
from gamlib._files import file_name
from gamlib.cli import options as shared
from gamlib.cli.options import Command, UsageError, known, name, usable
from gamlib.compare import compare


def add(commands) -> None:
    """Add the command and its options."""
    example = "gamlib compare --data puzzles-joint --attention none cbam gam --seeds 0 1 2"
    meaning = "train several attentions and seeds, and set them side by side"
    command = Command(commands, "compare", meaning, example, run)
    names = f"any of {', '.join(data.list_datasets())}; puzzles for all three"
    command.add("--data", name, "NAME", names, nargs="+", default=["puzzles-joint"])
    command.add("--attention", name, "NAME", shared.attention_help(), nargs="+", default=["none", "se", "gam"])
    command.add("--seeds", int, "N", "one run each, 0 or more", nargs="+", default=[0])
    control = "also plain networks widened to the parameters and to the MACs of this attention's network"
    command.add("--control", name, "NAME", control)
    shared.add_run_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Train the networks, and print their table."""
    puzzles = [each for each in data.list_datasets() if each.startswith("puzzles-")]
    names = [each for word in arguments.data for each in (puzzles if word == "puzzles" else [word])]
    if arguments.model is None and len({known(each).model for each in names}) > 1:
        raise UsageError("these data sets have different default networks; choose one for all with --model")
    model = arguments.model or known(names[0]).model
    recipe, speed = shared.chosen_recipe(arguments, names[0], model), shared.chosen_speed(arguments)
    for seed in arguments.seeds:
        usable(check_seed, seed)
    others = [arguments.control] if arguments.control else []
    for attention in [*arguments.attention, *others]:
        shared.check_network(model, attention, arguments.reduction, arguments.stem)
    shared.check_reduction(arguments.reduction, [*arguments.attention, *others])
    datasets = [shared.chosen_data(arguments, each) for each in names]
    out = arguments.out or Path("runs") / file_name(
        "compare", *arguments.data, model, recipe.label, *shared.unusual_options(arguments, arguments.reduction)
    )
    runs = usable(
        compare,
        datasets,
        model,
        arguments.attention,
        arguments.seeds,
        recipe,
        out,
        arguments.reduction,
        arguments.control,
        arguments.stem,
        resume=arguments.resume,
        speed=speed,
        save_every=arguments.save_every,
    )
    print(results.table(runs))
    print(f"Results: {out / 'compare.json'}; chart: {out / 'compare.png'}")
    return 0
