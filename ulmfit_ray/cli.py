"""The `ulmfit-ray` command: one subcommand per job, and the exit status of each.

0: done; 1: the job failed; 2: the command or its config is wrong. A verb's pipeline, and with
it torch and Ray, is imported when that verb runs.
"""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

from ulmfit_ray.config import ConfigError, parse_config


class Verb(NamedTuple):
    """Where a verb's config class and its `run` function live, and one line about it."""

    module: str
    config: str
    summary: str


VERBS = {
    "tokenize": Verb("pipelines.tokenize.job", "TokenizeConfig", "raw text -> token dataset"),
    "pretrain": Verb("pipelines.train.pretrain", "PretrainConfig", "token dataset -> language model"),
    "train-retriever": Verb("pipelines.train.retriever", "TrainRetrieverConfig", "language model + pairs -> retriever"),
    "embed": Verb("pipelines.encode.embed", "EmbedConfig", "token dataset -> embedding dataset"),
    "search": Verb("commands.search", "SearchConfig", "a query -> the nearest documents"),
    "evaluate retrieval": Verb(
        "commands.evaluate.retrieval", "EvaluateRetrievalConfig", "nDCG, recall, MRR against judgments"
    ),
    "inspect": Verb("commands.inspect", "InspectConfig", "what a directory is, and a few of its rows"),
    "verify": Verb("commands.verify", "VerifyConfig", "recount and re-hash everything a directory claims"),
}


def usage() -> str:
    """Return the page that lists the verbs."""
    lines = [f"  {name:<20}{verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: ulmfit-ray VERB [config.toml] [--option value ...]",
            "",
            *lines,
            "",
            "ulmfit-ray VERB --help: its options",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help") or arguments in (["evaluate", "-h"], ["evaluate", "--help"]):
        _say(usage())
        return 0 if arguments else 2
    name = " ".join(arguments[:2]) if arguments[0] == "evaluate" else arguments[0]
    if name not in VERBS:
        close = difflib.get_close_matches(name, VERBS, 1, 0.5)
        hint = f": did you mean {close[0]}?" if close else ""
        print(f"unknown command {name!r}{hint}\n\n{usage()}", file=sys.stderr)
        return 2
    return run_verb(name, arguments[len(name.split()) :])


def run_verb(name: str, arguments: Sequence[str]) -> int:
    """Run one verb and return its exit status."""
    return run_job(VERBS[name], f"ulmfit-ray {name}", arguments)


def run_job(verb: Verb, program: str, arguments: Sequence[str]) -> int:
    """Run one job; a person's mistake becomes a line or two, never a traceback (unless --debug asks for it)."""
    debug = "--debug" in arguments
    try:
        module = importlib.import_module(f"ulmfit_ray.{verb.module}")
        config = parse_config(getattr(module, verb.config), arguments, program)
        module.run(config)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        # An unfinished or missing input is the command's mistake too.
        is_mistake = isinstance(error, ConfigError | FileNotFoundError | ValueError)
        return 2 if is_mistake else 1
    return 0


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_stdout()


def _close_stdout() -> None:
    """Let the interpreter flush into nothing at its exit: whoever read the output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
