"""Whether training in bfloat16 learns what training in float32 learns: the losses of both, and of another seed.

    python benchmarks/precision.py --tokens TOKENS [--config jobs/configs/wikitext2/pretrain_small.toml]
                                   [--steps 600] [--output FILE.json]

The same recipe, on the same tokens in the same order, from the same weights, without Ray: in float32, in bfloat16, and
in float32 with another seed, which changes order, weights and dropout. What the other seed changes is the noise that a
difference between the precisions is to be compared with. Losses are means over a twelfth of the steps.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from reporting import report

from ulmfit_ray.config import parse_config
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.pipelines.train.language_model import chosen_for_tokens, make_task, with_vocab_size
from ulmfit_ray.pipelines.train.pretrain import start_of
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.loop import train

RECIPE = Path(__file__).parents[1] / "jobs" / "configs" / "wikitext2" / "pretrain_small.toml"
NUM_MEANS = 12


def losses(config: PretrainConfig, steps: int) -> list[float]:
    """Train for some steps of the recipe's own schedule, and return the means of the losses."""
    start = start_of(config)
    words = int(TokenDataset(config.tokens).manifest.figures["vocab_size"])
    task, _ = make_task(
        torch.device("cpu"), None, config=config, start=start, architecture=with_vocab_size(start.architecture, words)
    )
    training = replace(config.training, report_every_steps=steps // NUM_MEANS, checkpoint_every_steps=10 * steps)
    means = []
    for row in train(task, training):
        # The first step has a row of its own.
        if row.metrics and row.step > 1:
            means.append(round(row.metrics["loss"], 4))
            if row.step >= steps:
                break
    return means


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--config", default=str(RECIPE))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    arguments = [options.config, "--tokens", options.tokens, "--output", "nowhere", "--valid-fraction", "0"]
    config = chosen_for_tokens(parse_config(PretrainConfig, arguments, "precision"))
    found = {
        "float32": losses(replace(config, precision="float32"), options.steps),
        "bfloat16": losses(replace(config, precision="bfloat16"), options.steps),
        "float32, another seed": losses(replace(config, precision="float32", seed=config.seed + 1), options.steps),
    }
    largest = {
        name: round(max(abs(one - other) for one, other in zip(found["float32"], means, strict=True)), 4)
        for name, means in found.items()
        if name != "float32"
    }
    steps = options.steps // NUM_MEANS
    recipe = Path(options.config)
    result = {"recipe": f"{recipe.parent.name}/{recipe.name}", "steps_per_mean": steps, "losses": found}
    report(result | {"largest_difference_from_float32": largest}, options.output)


if __name__ == "__main__":
    main()
