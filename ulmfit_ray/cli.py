"""The `ulmfit-ray` command: one subcommand per job, and the exit status of each.

0: done; 1: the job failed; 2: the command or its config is wrong; 130: interrupted. A verb's config is parsed, and
its help printed, before the module that does the work is imported: that one brings torch and Ray.
"""

import atexit
import difflib
import gc
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ulmfit_ray.config import Config, ConfigError, joined, parse_config, part
from ulmfit_ray.places import same_everywhere, settled
from ulmfit_ray.reporting.logs import configure_logging, log_context, standard_error


class Verb(NamedTuple):
    """Where a verb's config class and its `run` function live, as "module:name", and one line about it."""

    config: str
    run: str
    summary: str


VERBS = {
    "tokenize": Verb(
        "ulmfit_ray.pipelines.tokenize.config:TokenizeConfig",
        "ulmfit_ray.pipelines.tokenize.job:run",
        "raw text -> token dataset",
    ),
    "pretrain": Verb(
        "ulmfit_ray.pipelines.train.config:PretrainConfig",
        "ulmfit_ray.pipelines.train.pretrain:run",
        "token dataset -> language model",
    ),
    "finetune": Verb(
        "ulmfit_ray.pipelines.train.config:FinetuneConfig",
        "ulmfit_ray.pipelines.train.finetune:run",
        "language model + token dataset -> language model of that text",
    ),
    "lr-find": Verb(
        "ulmfit_ray.pipelines.train.config:FindLearningRateConfig",
        "ulmfit_ray.pipelines.train.lr_find:run",
        "token dataset -> a learning rate, and the losses it is chosen by",
    ),
    "train-retriever": Verb(
        "ulmfit_ray.pipelines.train.config:TrainRetrieverConfig",
        "ulmfit_ray.pipelines.train.retriever:run",
        "language model + pairs -> retriever",
    ),
    "train-classifier": Verb(
        "ulmfit_ray.pipelines.train.config:TrainClassifierConfig",
        "ulmfit_ray.pipelines.train.classifier:run",
        "language model + labelled tokens -> classifier",
    ),
    "sweep pretrain": Verb(
        "ulmfit_ray.pipelines.sweep.config:SweepPretrain",
        "ulmfit_ray.pipelines.sweep.job:run",
        "pretrain with every setting of a grid -> models, one table",
    ),
    "sweep finetune": Verb(
        "ulmfit_ray.pipelines.sweep.config:SweepFinetune",
        "ulmfit_ray.pipelines.sweep.job:run",
        "finetune with every setting of a grid",
    ),
    "sweep train-retriever": Verb(
        "ulmfit_ray.pipelines.sweep.config:SweepTrainRetriever",
        "ulmfit_ray.pipelines.sweep.job:run",
        "train-retriever with every setting of a grid",
    ),
    "sweep train-classifier": Verb(
        "ulmfit_ray.pipelines.sweep.config:SweepTrainClassifier",
        "ulmfit_ray.pipelines.sweep.job:run",
        "train-classifier with every setting of a grid",
    ),
    "embed": Verb(
        "ulmfit_ray.pipelines.encode.config:EmbedConfig",
        "ulmfit_ray.pipelines.encode.embed:run",
        "token dataset, or raw text -> embedding dataset",
    ),
    "classify": Verb(
        "ulmfit_ray.pipelines.encode.config:ClassifyConfig",
        "ulmfit_ray.pipelines.encode.classify:run",
        "classifiers + token dataset, or raw text -> prediction dataset",
    ),
    "index": Verb(
        "ulmfit_ray.commands.index:IndexConfig",
        "ulmfit_ray.commands.index:run",
        "embedding dataset -> an index for searches over millions",
    ),
    "neighbours": Verb(
        "ulmfit_ray.pipelines.neighbours.config:NeighboursConfig",
        "ulmfit_ray.pipelines.neighbours.job:run",
        "embedding dataset -> the nearest documents of each, and near-duplicates",
    ),
    "search": Verb(
        "ulmfit_ray.commands.search:SearchConfig", "ulmfit_ray.commands.search:run", "a query -> the nearest documents"
    ),
    "map": Verb(
        "ulmfit_ray.commands.map:MapConfig", "ulmfit_ray.commands.map:run", "embedding dataset -> a map to look at"
    ),
    "evaluate lm": Verb(
        "ulmfit_ray.commands.evaluate.language_model:EvaluateLanguageModelConfig",
        "ulmfit_ray.commands.evaluate.language_model:run",
        "loss, perplexity and accuracy on a token dataset",
    ),
    "evaluate retrieval": Verb(
        "ulmfit_ray.commands.evaluate.retrieval:EvaluateRetrievalConfig",
        "ulmfit_ray.commands.evaluate.retrieval:run",
        "nDCG, recall, MRR against judgments",
    ),
    "evaluate similarity": Verb(
        "ulmfit_ray.commands.evaluate.similarity:EvaluateSimilarityConfig",
        "ulmfit_ray.commands.evaluate.similarity:run",
        "rank correlation with the scores of pairs of sentences",
    ),
    "evaluate classifier": Verb(
        "ulmfit_ray.commands.evaluate.classifier:EvaluateClassifierConfig",
        "ulmfit_ray.commands.evaluate.classifier:run",
        "accuracy, F1 ... of classifiers, beside TF-IDF with word pairs",
    ),
    "generate": Verb(
        "ulmfit_ray.commands.generate:GenerateConfig",
        "ulmfit_ray.commands.generate:run",
        "a prompt, continued by a language model",
    ),
    "import-fastai": Verb(
        "ulmfit_ray.commands.fastai.config:ImportFastaiConfig",
        "ulmfit_ray.commands.fastai.import_model:run",
        "weights and words of fastai 2, 1 or 0.7 -> language model or classifier",
    ),
    "export-fastai": Verb(
        "ulmfit_ray.commands.fastai.config:ExportFastaiConfig",
        "ulmfit_ray.commands.fastai.export_model:run",
        "language model or classifier -> weights and words that fastai 2 loads",
    ),
    "inspect": Verb(
        "ulmfit_ray.commands.inspect:InspectConfig",
        "ulmfit_ray.commands.inspect:run",
        "what a directory holds, and a few of its rows",
    ),
    "verify": Verb(
        "ulmfit_ray.commands.verify:VerifyConfig",
        "ulmfit_ray.commands.verify:run",
        "check a directory against its manifest and receipts",
    ),
}

OF_A_VERB = {
    "submit": Verb(
        "ulmfit_ray.pipelines.cluster.config:SubmitConfig",
        "ulmfit_ray.pipelines.cluster.submit:run",
        "run a verb as a job on a Ray cluster, and follow it",
    ),
    "manifest": Verb(
        "ulmfit_ray.pipelines.cluster.manifest_config:ManifestConfig",
        "ulmfit_ray.pipelines.cluster.manifest:run",
        "print a KubeRay RayJob that runs a verb",
    ),
}
"""What is done with another verb, which stands behind it with its options: `run(own config, verb, its config)`."""

IN_TWO_WORDS = {name.split()[0] for name in VERBS if " " in name}
"""First words that are no verbs by themselves."""


def usage() -> str:
    """Return the page that lists the verbs."""
    lines = [f"  {name:<23}{verb.summary}" for name, verb in VERBS.items()]
    lines += [f"  {name + ' VERB':<23}{verb.summary}" for name, verb in OF_A_VERB.items()]
    return "\n".join(
        [
            "usage: ulmfit-ray VERB [config.toml] [--option value ...]",
            "",
            *lines,
            "",
            "Run `ulmfit-ray VERB --help` for the options of a verb.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    outer = arguments[:1] if arguments and arguments[0] in OF_A_VERB else []
    rest = arguments[len(outer) :]
    num_words = 2 if rest and rest[0] in IN_TWO_WORDS else 1
    if not arguments or rest[num_words - 1 :] in (["-h"], ["--help"]):
        _say(usage())
        return 0 if arguments else 2
    if arguments == ["--version"]:
        _say(f"ulmfit-ray {importlib.metadata.version('ulmfit-ray')}")
        return 0
    if outer and not rest:
        print(f"{outer[0]} needs a verb: ulmfit-ray {outer[0]} VERB ...\n\n{usage()}", file=sys.stderr)
        return 2
    name = " ".join(rest[:num_words])
    if name not in VERBS:
        close = difflib.get_close_matches(name, VERBS, 1, 0.5)
        hint = f": did you mean {' '.join([*outer, *close])}?" if close else ""
        print(f"unknown command {' '.join([*outer, name])!r}{hint}\n\n{usage()}", file=sys.stderr)
        return 2
    rest = rest[num_words:]
    return run_of_a_verb(outer[0], name, rest) if outer else run_verb(name, rest)


def run_verb(name: str, arguments: Sequence[str]) -> int:
    """Run one verb and return its exit status."""
    verb = VERBS[name]

    def run(config: object) -> None:
        _named(verb.run)(config)

    return run_job(_named(verb.config), run, f"ulmfit-ray {name}", arguments)


def run_of_a_verb(outer: str, name: str, arguments: Sequence[str]) -> int:
    """Run `ulmfit-ray OUTER VERB ...`, whose options are those of both, and return its exit status."""
    own, verb = _named(OF_A_VERB[outer].config), _named(VERBS[name].config)

    def run(config: object) -> None:
        _named(OF_A_VERB[outer].run)(part(config, own), name, part(config, verb))

    return run_job(joined(own, verb), run, f"ulmfit-ray {outer} {name}", arguments, same_everywhere)


def run_job(
    config_class: type[Config],
    run: Callable[[Config], object],
    program: str,
    arguments: Sequence[str],
    look_at_places: Callable[[Config], Config] = settled,
) -> int:
    """Run one job and return its exit status.

    A person's mistake becomes a line or two, never a traceback (unless --debug asks for it).
    """
    # At its end Python looks through all objects for cycles to free, a second where Ray is loaded: they go anyway.
    atexit.register(gc.freeze)
    configure_logging(logging.INFO if "--debug" in arguments else logging.WARNING)
    with standard_error() as use_format, log_context(job=program.removeprefix("ulmfit-ray ")):

        def run_parsed() -> None:
            config = parse_config(config_class, arguments, program)
            use_format(getattr(config, "log_format", "text"))
            run(look_at_places(config))

        return _status(run_parsed, arguments)


def _status(run: Callable[[], None], arguments: Sequence[str]) -> int:
    """Run a job, say on standard error what ended it, and return its exit status."""
    debug = "--debug" in arguments
    try:
        with _terminated_like_interrupted():
            run()
    except KeyboardInterrupt as interrupt:
        again = " without --overwrite" if "--overwrite" in arguments else ""
        said = str(interrupt) or f"interrupted; run the same command again{again} to go on from here"
        print(f"\n{said}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except ModuleNotFoundError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}; {sys.executable} lacks a package of ulmfit-ray: see cluster/README.md", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        # An unfinished or missing input is the command's mistake too, and so is a language without its package.
        is_mistake = isinstance(error, ConfigError | FileNotFoundError | PermissionError | ValueError | ImportError)
        return 2 if is_mistake else 1
    return 0


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block with a KeyboardInterrupt, as Ctrl-C does.

    `ray.init` has its own handler as long as it runs: it makes SIGTERM a SystemExit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except SystemExit as ended:
        if ended.code == signal.SIGTERM:
            raise KeyboardInterrupt from ended
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _named(place: str) -> Any:
    """Return what stands at "module:name"."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_stdout()


def _close_stdout() -> None:
    """Redirect standard output to /dev/null: its reader is gone, and flushing it at exit would fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
