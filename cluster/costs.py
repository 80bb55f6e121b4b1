"""What a corpus costs: nodes, hours and rough prices of each stage, from figures that were measured.

    python cluster/costs.py                             # print the table
    python cluster/costs.py --write cluster/README.md   # put it between `<!-- costs -->` and `<!-- /costs -->`

Rates of a core, or of a GPU, are read from benchmarks/results/. Where no GPU was measured the rate is an estimate: the
arithmetic of a token against 40 % of what matrix products of that GPU reach. Change the constants to your prices.
"""

import argparse
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks/results"
BEGIN, END = "<!-- costs -->\n", "<!-- /costs -->\n"
CORES_OF_A_NODE, GPUS_OF_A_NODE = 64, 8
DOLLARS_PER_CORE_HOUR, DOLLARS_PER_GPU_HOUR = 0.05, 4.00
"""On-demand prices of large clouds, roughly; interruptible machines cost a third."""
BUSY_SHARE = 0.8
"""Of the time of a node: the rest is start, the last shards, lost machines."""
HOURS_AT_MOST = 24
"""There are so many nodes that a stage is done in that time."""
BILLIONS = (1, 10, 100)
GPU_FLOPS, GPU_SHARE = 790e12, 0.4
"""Matrix products of an H200 in bfloat16, and what is expected to be left of them."""
SHAPE = {"embedding_dim": 400, "hidden_size": 1152, "num_layers": 3}
VOCAB_SIZE = 60_000


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage on one sort of machine."""

    name: str
    tokens_per_second: float
    """Of a core, or of a GPU."""
    source: str
    on_gpu: bool = False

    def cost(self, num_tokens: float) -> tuple[int, float, float]:
        """Return the nodes, hours and dollars for so many tokens."""
        hours = num_tokens / (self.tokens_per_second * BUSY_SHARE) / 3600
        size = GPUS_OF_A_NODE if self.on_gpu else CORES_OF_A_NODE
        price = DOLLARS_PER_GPU_HOUR if self.on_gpu else DOLLARS_PER_CORE_HOUR
        nodes = math.ceil(hours / size / HOURS_AT_MOST)
        return nodes, hours / size / nodes, hours * price


def stages(results: Path = RESULTS) -> list[Stage]:
    """Return the stages with what was measured of them."""
    job = _read(results / "tokenize_job.json")
    encode, train = _read(results / "encode.json"), _read(results / "train_lm_60000.json")
    flop = encode["flop_per_token"]
    # Forward and backward, and the tied softmax over the vocabulary.
    train_flop = 3 * (flop + 2 * SHAPE["embedding_dim"] * VOCAB_SIZE)
    tokenizing = job["tokens"] / job["seconds"]["ours, 1 core"]
    encoding = encode["tokens_per_second"]["float32"] / encode["threads"]
    training = max(rate for name, rate in train["tokens_per_second"].items() if name.startswith("ours"))
    return [
        Stage("tokenize, CPU", tokenizing, "measured, the whole command on a core"),
        Stage("embed, CPU, float32", encoding, "measured, the encoder"),
        _on_gpu("embed, GPU", flop, results, **SHAPE),
        Stage("pretrain, CPU, one pass", training / train["threads"], "measured, a step; many nodes not tried"),
        _on_gpu("pretrain, GPU, one pass", train_flop, results, shape="400-1152-3", vocab_size=VOCAB_SIZE),
    ]


def _on_gpu(name: str, flop_per_token: float, results: Path, **facts: object) -> Stage:
    """Return a stage on a GPU as it was measured, or else as it is estimated."""
    for path in sorted(results.glob("*.json")):
        found = _read(path)
        if str(found.get("device")).startswith("cuda") and all(found.get(key) == facts[key] for key in facts):
            ours = {kind: rate for kind, rate in found["tokens_per_second"].items() if kind.endswith("bfloat16")}
            ours = {kind: rate for kind, rate in ours.items() if not kind.startswith(("plain", "ceiling"))}
            return Stage(name, max(ours.values()), f"measured, {path.name}", on_gpu=True)
    return Stage(name, GPU_FLOPS * GPU_SHARE / flop_per_token, "**estimate, not measured**", on_gpu=True)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(found: Sequence[Stage]) -> str:
    """Return the table in Markdown, with what it supposes."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Sequence[Stage]) -> Iterator[str]:
    yield textwrap.fill(
        f"A node has {CORES_OF_A_NODE} cores at ${DOLLARS_PER_CORE_HOUR:.2f} an hour each, or {GPUS_OF_A_NODE} GPUs at"
        f" ${DOLLARS_PER_GPU_HOUR:.2f}. It is busy for {BUSY_SHARE:.0%} of the time, and there are so many nodes that"
        f" a stage takes {HOURS_AT_MOST} hours at most. The model is 400-1152-3 with {VOCAB_SIZE:,} words. An estimate"
        f" for a GPU supposes {GPU_SHARE:.0%} of {GPU_FLOPS / 1e12:.0f} TFLOP/s. `python cluster/costs.py` computes the"
        " table; the prices are constants in it.",
        width=118,
        break_on_hyphens=False,
    )
    yield ""
    yield "| stage | tokens/s of a core or GPU | | " + " | ".join(f"{n} billion tokens" for n in BILLIONS) + " |"
    yield "|---|---:|---|" + "---|" * len(BILLIONS)
    for stage in found:
        costs = " | ".join(_cost(*stage.cost(n * 1e9)) for n in BILLIONS)
        yield f"| {stage.name} | {_rounded(stage.tokens_per_second):,} | {stage.source} | {costs} |"


def _cost(nodes: int, hours: float, dollars: float) -> str:
    time = f"{hours:.1f} h" if hours >= 1 else f"{math.ceil(hours * 60)} min"
    price = f"${dollars:,.0f}" if dollars >= 1 else "under $1"
    return f"{nodes} {'node' if nodes == 1 else 'nodes'}, {time}, {price}"


def _rounded(rate: float) -> int:
    """Return a rate to two digits: it is not known better."""
    return int(round(rate, 1 - math.floor(math.log10(rate))))


def written_into(page: str, content: str) -> str:
    """Return a page with `content` between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} followed by {END.strip()}: put both where the table goes")
    return before + BEGIN + content + END + after


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    page = parser.parse_args().write
    content = table(stages())
    if page is None:
        print(content, end="")
    else:
        page.write_text(written_into(page.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()
