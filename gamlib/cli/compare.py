"""gamlib compare: several networks and seeds, side by side."""

import argparse
from pathlib import Path

from gamlib import data, results
from gamlib._checks import check_seed
from gamlib.cli.options import (
    UsageError,
    add_run_options,
    attention_help,
    check_network,
    chosen_data,
    chosen_recipe,
    chosen_speed,
    known,
    unusual_options,
    usable,
)
from gamlib.compare import compare


def add(commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("compare", help="train several attentions and seeds, and set them side by side")
    command.add_argument(
        "--data",
        nargs="+",
        default=["puzzles-joint"],
        metavar="NAME",
        help=f"any of {', '.join(data.list_datasets())}; puzzles for all three",
    )
    command.add_argument("--attention", nargs="+", default=["none", "se", "gam"], metavar="NAME", help=attention_help())
    command.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run each")
    command.add_argument(
        "--control",
        metavar="NAME",
        help="also plain networks widened to the parameters and to the MACs of this attention's network",
    )
    add_run_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train the networks, and print their table."""
    puzzles = [name for name in data.list_datasets() if name.startswith("puzzles-")]
    names = [name for given in arguments.data for name in (puzzles if given == "puzzles" else [given])]
    if arguments.model is None and len({known(name).model for name in names}) > 1:
        raise UsageError("these data sets have different default networks; choose one for all with --model")
    model = arguments.model or known(names[0]).model
    recipe = chosen_recipe(arguments, names[0], model)
    for seed in arguments.seeds:
        usable(check_seed, seed)
    for attention in arguments.attention:
        check_network(model, attention, arguments.reduction, arguments.stem)
    datasets = [chosen_data(arguments, name) for name in names]
    out = arguments.out or Path("runs") / "-".join(
        ["compare", *arguments.data, model, recipe.label, *unusual_options(arguments, arguments.reduction)]
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
        speed=chosen_speed(arguments),
        save_every=arguments.save_every,
    )
    print(results.table(runs))
    print(f"Results: {out / 'compare.json'}; chart: {out / 'compare.png'}")
    return 0
