"""The command's exit status and what a person reads when something is wrong. Nothing here starts Ray."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import Command, Outcome

from ulmfit_ray.cli import OF_A_VERB, VERBS, usage


def write(path: str, content: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


@pytest.fixture
def corpus(tmp_path: Path) -> None:
    write(f"{tmp_path}/a.jsonl", '{"id": 1, "text": "one", "note": "x"}\n{"id": 2, "text": "two", "note": 3}\n')
    write(f"{tmp_path}/a.txt", "text")
    write(f"{tmp_path}/a.log", "text")
    write(f"{tmp_path}/a.parquet", "PAR1")
    write(f"{tmp_path}/array.jsonl", '[{"text": "one"}]')
    write(f"{tmp_path}/lines.json", '{"text": "one"}\n{"text": "two"}\n')
    write(f"{tmp_path}/header.csv", "id,text\n")
    write(f"{tmp_path}/empty.jsonl", "")
    write(f"{tmp_path}/folder/a.txt", "text")
    write(f"{tmp_path}/full/notes.txt", "somebody's own")
    write(f"{tmp_path}/broken.toml", "input = \n")
    write(f"{tmp_path}/unknown.toml", "max-vocabulary = 9\n")
    write(f"{tmp_path}/elsewhere.toml", "bptt = 70\n")
    write(f"{tmp_path}/words.toml", '[training]\nbptt = "seventy"\n')
    job = {"verb": "pretrain", "command": "ulmfit-ray pretrain --tokens t --output taken"}
    write(f"{tmp_path}/taken/config.json", json.dumps({"job": job}))
    write(f"{tmp_path}/embedded/manifest.json", json.dumps({"format_version": 1, "job": "embed"}))


def test_the_bare_command_shows_its_verbs_and_ends_with_2(command: Command) -> None:
    assert command() == Outcome(2, usage() + "\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_shows_the_verbs_and_ends_with_0(command: Command, option: str) -> None:
    assert command(option) == Outcome(0, usage() + "\n", "")


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version") == Outcome(0, f"ulmfit-ray {version('ulmfit-ray')}\n", "")


def test_usage_has_a_line_for_every_verb_that_can_be_run() -> None:
    lines = [f"  {name:<23}{verb.summary}" for name, verb in VERBS.items()]
    shown = [line in usage().splitlines() for line in lines]
    assert shown == [bool(verb.config) for verb in VERBS.values()]


@pytest.mark.parametrize(
    "arguments",
    [["tokenise"], ["evaluate"], ["evaluate", "something"], ["sweep"], ["sweep", "something"], ["--input", "a"]],
)
def test_an_unknown_command_is_named_and_ends_with_2(command: Command, arguments: list[str]) -> None:
    outcome = command(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    name = " ".join(arguments[:2] if arguments[0] in ("evaluate", "sweep") else arguments[:1])
    assert outcome.err.startswith(f"unknown command '{name}'")
    assert usage() in outcome.err


@pytest.mark.parametrize("outer", OF_A_VERB)
@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["tokenise"], 2), (["evaluate"], 2), (["--help"], 0), (["evaluate", "-h"], 0)]
)
def test_what_is_done_with_a_verb_shows_all_verbs_where_none_is_named(
    command: Command, outer: str, arguments: list[str], status: int
) -> None:
    outcome = command(outer, *arguments)
    assert outcome.status == status
    assert usage() in outcome.out + outcome.err
    assert f"  {outer} VERB " in usage()
    assert outcome.err.startswith(f"unknown command '{outer} " if arguments else f"{outer} needs a verb") == bool(
        status
    )


@pytest.mark.parametrize("outer", OF_A_VERB)
@pytest.mark.parametrize("name", VERBS)
def test_the_options_of_each_verb_stand_beside_those_of_what_is_done_with_it(
    command: Command, outer: str, name: str
) -> None:
    outcome = command(outer, *name.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"ulmfit-ray {outer} {name}" in outcome.out
    assert {"submit": "--ray.address", "manifest": "--kubernetes.image"}[outer] in outcome.out


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if verb.config])
def test_each_verb_has_help_that_ends_with_0(command: Command, name: str) -> None:
    outcome = command(*name.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"ulmfit-ray {name}" in outcome.out


TOKENIZE = ["tokenize", "--output", "out", "--input"]
SWEEP = ["sweep", "pretrain", "--tokens", "missing", "--output", "out"]
MISTAKES = [
    ([*TOKENIZE, "missing.txt"], "matches no file"),
    ([*TOKENIZE, "a.jsonl", "a.txt"], "inputs of several formats"),
    ([*TOKENIZE, "a.log"], "say --format, or rename it"),
    ([*TOKENIZE, "a.log"], "txt (.txt), lines (no name), csv (.csv), tsv (.tsv .tab), jsonl (.jsonl .ndjson)"),
    ([*TOKENIZE, "a.parquet"], "a.parquet cannot be read: Parquet file size is 4 bytes"),
    ([*TOKENIZE, "array.jsonl"], "array.jsonl is a JSON array, not one object per line: say --format json"),
    ([*TOKENIZE, "lines.json"], "lines.json is one JSON object per line, not one array: say --format jsonl"),
    ([*TOKENIZE, "a.jsonl", "--delimiter", ";"], "--delimiter does not fit format jsonl; it is for csv"),
    ([*TOKENIZE, "header.csv", "--delimiter", "ab"], "--delimiter must be one character"),
    ([*TOKENIZE, "a.txt", "--encoding", "utf-16"], "convert the files, as with iconv -f utf-16 -t utf-8"),
    ([*TOKENIZE, "header.csv", "--no-header"], "column 'text' does not exist"),
    ([*TOKENIZE, "header.csv"], "header.csv has a header and no rows"),
    ([*TOKENIZE, "empty.jsonl"], "none of the 1 input files holds a record"),
    ([*TOKENIZE, "empty.jsonl", "--format", "lines"], "none of the 1 input files holds a record"),
    ([*TOKENIZE, "a.jsonl", "--text-columns", "body"], "its columns are id, text, note"),
    ([*TOKENIZE, "a.jsonl", "--id-column", "key"], "column 'key' does not exist"),
    ([*TOKENIZE, "a.jsonl", "--keep-columns", "note"], "column 'note' cannot be kept"),
    ([*TOKENIZE, "a.jsonl", "--keep-columns", "doc_id"], "column doc_id cannot be kept"),
    ([*TOKENIZE, "a.txt", "--text-columns", "title"], "its columns are text, label"),
    ([*TOKENIZE, "a.txt", "--max-vocabs", "100"], "did you mean --max-vocab?"),
    ([*TOKENIZE, "a.txt", "--lang", "xyz"], "--lang xyz is not a language that spaCy can cut"),
    (["tokenize", "--input", "folder", "--output", "folder/out"], "lies inside input"),
    (["tokenize", "--input", "a.txt", "--output", "full"], "not empty and not an output of ulmfit-ray"),
    (["tokenize", "--input", "a.txt", "--output", "taken"], "belongs to `pretrain`"),
    (["tokenize", "missing.toml"], "does not exist"),
    (["tokenize", "broken.toml"], "is not valid TOML"),
    (["tokenize", "unknown.toml"], "unknown.toml: there is no key max-vocabulary; did you mean max-vocab?"),
    (["pretrain", "elsewhere.toml"], "elsewhere.toml: there is no key bptt; did you mean bptt in [training]?"),
    (["pretrain", "words.toml"], "words.toml: [training] bptt is 'seventy': expected a whole number"),
    ([*TOKENIZE, "a.txt", "--no-max-vocab"], "unknown option --no-max-vocab: did you mean --max-vocab?"),
    (["pretrain", "--bptt", "70"], "unknown option --bptt: did you mean --training.bptt?"),
    (["pretrain", "--tokens", "missing", "--output", "out"], "is not an output of ulmfit-ray"),
    (["pretrain", "--tokens", "taken", "--output", "out"], "pretrain job has not finished"),
    (["pretrain", "--tokens", "embedded", "--output", "out"], "is an output of `embed`"),
    (["train-retriever", "--model", "missing", "--tokens", "missing", "--output", "out"], "missing is not an output"),
    (["embed", "--model", "missing", "--input", "missing", "--output", "out"], "missing is not an output"),
    (["search", "--embeddings", "missing", "--model", "missing", "--query", "x"], "missing is not an output"),
    (["search", "--embeddings", "taken", "--model", "taken", "--query", "x"], "has not finished"),
    (
        ["evaluate", "retrieval", "--embeddings=e", "--model=m", "--tokens=t", "--queries=q", "--qrels=r"],
        "e is not an output of ulmfit-ray",
    ),
    ([*SWEEP, "--grid", "seed=1,2"], "missing is not an output of ulmfit-ray"),
    ([*SWEEP, "--grid", "training.learning_rat=1,2"], "there is no such field; did you mean training.learning_rate?"),
    ([*SWEEP, "--grid", "learning_rate=1,2"], "there is no such field; did you mean training.learning_rate?"),
    ([*SWEEP, "--grid", "scaling.num_workers=1,2"], "it does not change the result; the models would be the same"),
    ([*SWEEP, "--grid", "seed=1,2", "--grid", "seed=3"], "--grid has seed twice: give all its values at once"),
    ([*SWEEP, "--grid", "seed=1,2,1"], "--grid has seed=1 twice: leave one out"),
    ([*SWEEP, "--grid", "seed=1,"], "give the values behind a = and commas between them, seed=A,B,C"),
    ([*SWEEP, "--grid", "seed"], "give the values behind a = and commas between them, seed=A,B,C"),
    ([*SWEEP, "--grid", "seed=0,-1"], "the setting --seed -1 is refused: --seed must not be negative"),
    ([*SWEEP, "--grid", "seed=1", "--sweep.max-parallel", "0"], "--sweep.max-parallel must be at least 1, not 0"),
    ([*SWEEP, "--grid", "seed=1", "--sweep.max-paralel", "2"], "did you mean --sweep.max-parallel?"),
    (["inspect", "missing"], "missing is not an output of ulmfit-ray"),
    (["verify", "full"], "full is not an output of ulmfit-ray"),
    (["verify", "taken"], "Run the same command again to finish it: ulmfit-ray pretrain --tokens t --output taken"),
]


def outputs_that_look_finished() -> list[str]:
    return [str(path) for path in Path().rglob("manifest.json") if path.parent != Path("embedded")]


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_told_in_a_line_or_two_and_ends_with_2(
    command: Command, arguments: Sequence[str], message: str
) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) <= 2
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()
    assert not outputs_that_look_finished()


REFUSED_VALUES = [
    (["--max-vocab", "9"], "--max-vocab must be over 9"),
    (["--max-vocab", "many"], "--max-vocab"),
    (["--max-bad-fraction", "1.5"], "--max-bad-fraction must lie between 0 and 1"),
    (["--rules", "fastai-v3"], "--rules: there is no rule 'fastai-v3'; did you mean fastai-v2?"),
    (["--rules", "lowercase", "fix_hmtl"], "--rules: there is no rule 'fix_hmtl'; did you mean fix_html?"),
    (["--rules", "none", "lowercase"], "--rules: none is a preset"),
    (["--tokenizer.kind", "words"], "--tokenizer.kind"),
    (["--tokenizer.kin", "spacy"], "did you mean --tokenizer.kind?"),
]


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(("arguments", "message"), REFUSED_VALUES)
def test_a_value_that_an_option_refuses_is_told_and_ends_with_2(
    command: Command, arguments: list[str], message: str
) -> None:
    outcome = command(*TOKENIZE, "a.txt", *arguments)
    assert outcome.status == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain --tokens t --output out --valid-fraction 1", "--valid-fraction must lie in"),
        (
            "pretrain --tokens t --output out --scaling.num-workers 7 --training.global-batch-size 6",
            "--training.global-batch-size 6 has fewer rows than there are workers",
        ),
        (
            "pretrain --tokens t --output out --scaling.num-workers 2 --scaling.min-workers 3",
            "--scaling.min-workers 3 must lie between 1 and --scaling.num-workers 2",
        ),
        ("train-retriever --model m --tokens t --output out --pairs title:", "name two text columns, as in title:text"),
        ("search --embeddings e --model m", "--query TEXT or --queries FILE"),
        ("search --embeddings e --model m --query x -k 0", "-k must be at least 1"),
        ("search --embeddings e --model m --query x --output hits.txt", "must end in .jsonl or .parquet"),
    ],
)
def test_values_that_do_not_fit_each_other_are_told_and_end_with_2(
    command: Command, arguments: str, message: str
) -> None:
    outcome = command(*arguments.split())
    assert outcome.status == 2
    assert " ".join(message.split()) in " ".join(outcome.err.replace("\u2502", " ").split())
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


@pytest.mark.usefixtures("corpus")
def test_a_dry_run_prints_the_plan_and_writes_nothing(command: Command) -> None:
    outcome = command(*TOKENIZE, "a.txt", "folder", "--dry-run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "plan: 2 files in 1 units" in outcome.out
    assert not Path("out").exists()


@pytest.mark.usefixtures("corpus")
def test_an_output_of_another_config_is_refused_with_the_differences(command: Command) -> None:
    job = {"verb": "tokenize", "command": "c", "input": [str(Path("a.txt").absolute())], "min_freq": 5}
    write("out/config.json", json.dumps({"job": job}))
    outcome = command(*TOKENIZE, "a.txt")
    assert outcome.status == 2
    assert "out belongs to another config" in outcome.err
    assert "min_freq: 5 -> 3" in outcome.err
    assert "input:" not in outcome.err
    assert len(outcome.err.splitlines()) == 2
    assert not outputs_that_look_finished()
