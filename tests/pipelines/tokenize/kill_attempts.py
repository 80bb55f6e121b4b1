"""Kill attempts at shards at random moments, without Ray, and look at what is there after each kill.

    python tests/pipelines/tokenize/kill_attempts.py FOLDER SEED KILLS

An attempt is a forked process that makes one shard in one phase. After each kill it must hold that a shard with a
receipt has the very files that the receipt names. Every third time two attempts at one shard run at once, and one is
killed. Then the shard is attempted once more, and must be the same bytes as in a run that nobody disturbed. Prints
what was done as JSON. A program of its own: it forks, so it must have no threads.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit
from ulmfit_ray.pipelines.shard_text import tokenizer_of
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeJob, numericalize_shard, tokenize_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab, build_vocab

NUM_UNITS = 4
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
PHASES = {"tokenize": ("work", "work/done"), "numericalize": ("shards", "done")}


def main() -> None:
    """Make everything once undisturbed, then kill."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    pa.set_cpu_count(1)
    job = make_job(folder / "disturbed")
    units = write_corpus(folder, random.Random(seed))
    # Loaded before the first fork, so that an attempt takes milliseconds; this starts no thread.
    tokenizer = tokenizer_of(job.settings, job.tokenizer_fingerprint, job.output)
    tokenizer.tokenize([f"word{number}" for number in range(500)])
    make_work = partial(work_of, job, units)
    timed(partial(undisturbed, make_work))
    expected = {phase: hashes(job, phase) for phase in PHASES}
    print(json.dumps(disturb(job, make_work, expected, random.Random(seed), kills)))


def make_job(output: Path) -> TokenizeJob:
    settings = TokenizerSettings()
    facts = CorpusFacts(
        format="jsonl",
        options=ReadingOptions(),
        columns=Columns(),
        num_files=1,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=1 << 20,
    )
    fingerprint = make_tokenizer(settings).fingerprint
    return TokenizeJob(output=str(output), plan="p", corpus=facts, settings=settings, tokenizer_fingerprint=fingerprint)


def write_corpus(folder: Path, draw: random.Random) -> list[Unit]:
    """Write a file for each unit; every third record is broken, so that there is a quarantine."""
    units = []
    for number in range(NUM_UNITS):
        words = [f"word{draw.randrange(500)}" for _ in range(3000)]
        lines = [json.dumps({"text": " ".join(words[start : start + 30])}) for start in range(0, len(words), 30)]
        path = folder / f"{number}.jsonl"
        path.write_text("\n".join(line if place % 3 else line[:-1] for place, line in enumerate(lines)) + "\n")
        units.append(Unit(number, (Piece(str(path), path.name, 0, path.stat().st_size),)))
    return units


def work_of(job: TokenizeJob, units: list[Unit], phase: str, number: int) -> None:
    """Make one shard."""
    shard = f"part-{number:07d}"
    if phase == "tokenize":
        tokenize_shard(job, units[number], None, shard)
    else:
        vocab = Vocab.from_json(Folder(job.output).read_json("vocab.json"))
        numericalize_shard(job, vocab.fingerprint, shard)


def undisturbed(make_work: partial[None]) -> None:
    job: TokenizeJob = make_work.args[0]
    for number in range(NUM_UNITS):
        make_work("tokenize", number)
    types = [pq.read_table(path, use_threads=False) for path in sorted(Path(job.output, "work").glob("*.parquet"))]
    summed = pa.concat_tables(types).group_by("token", use_threads=False)
    table = summed.aggregate([("count", "sum"), ("documents", "sum")]).rename_columns(["token", "count", "documents"])
    vocab = build_vocab([table], max_vocab=400, min_freq=2, num_documents=1, num_tokens=1)
    Folder(job.output).publish_json(vocab.to_json(), "vocab.json")
    for number in range(NUM_UNITS):
        make_work("numericalize", number)


def hashes(job: TokenizeJob, phase: str) -> dict[str, dict[str, str]]:
    """Return what the receipts of a phase say of each shard's files, and check that the files are so."""
    folder = Folder(job.output)
    found = {}
    for name in folder.names(PHASES[phase][1]):
        receipt = folder.read_json(f"{PHASES[phase][1]}/{name}")
        assert all(folder.sha256(file) == digest for file, digest in receipt["files"].items()), (phase, name)
        found[receipt["shard"]] = receipt["files"]
    return found


def disturb(
    job: TokenizeJob, make_work: partial[None], expected: dict, draw: random.Random, kills: int
) -> dict[str, object]:
    """Kill so many attempts; return how often each signal was sent, and what it hit."""
    done: Counter[str] = Counter()
    longest = {phase: max(timed(partial(make_work, phase, 0)) for _ in range(3)) for phase in PHASES}
    for kill in range(kills):
        phase, number = draw.choice(list(PHASES)), draw.randrange(NUM_UNITS)
        forget(job, phase, number, draw)
        victims = [forked(partial(make_work, phase, number)) for _ in range(2 if kill % 3 == 0 else 1)]
        time.sleep(draw.uniform(0, 0.7 * longest[phase] * len(victims)))
        sent = draw.choice(SIGNALS)
        os.kill(victims[0], sent)
        statuses = [os.waitpid(victim, 0)[1] for victim in victims]
        done[f"{phase} {sent.name} {'in the middle' if statuses[0] else 'after its end'}"] += 1
        assert not any(statuses[1:]), f"the attempt beside the killed one failed at {phase}: status {statuses[1]}"
        # Whatever has a receipt now is whole, and none of the others was touched.
        assert all(hashes(job, each).items() <= expected[each].items() for each in PHASES)
        timed(partial(make_work, phase, number))
        assert all(hashes(job, each) == expected[each] for each in PHASES), f"after kill {kill}"
    return dict(done)


def forget(job: TokenizeJob, phase: str, number: int, draw: random.Random) -> None:
    """Remove a shard's receipt, and its files or not: both are what an earlier kill may have left."""
    folder, (where, receipts) = Folder(job.output), PHASES[phase]
    folder.delete(f"{receipts}/part-{number:07d}.json")
    if draw.random() < 0.5:
        for suffix in (".arrow", ".types.parquet") if phase == "tokenize" else (".arrow",):
            folder.delete(f"{where}/part-{number:07d}{suffix}")
    if phase == "tokenize":
        # Phase 3 does not begin before phase 1 has ended, so it has not yet read what is made again here.
        assert folder.exists("vocab.json")


def forked(work: partial[None]) -> int:
    """Do some work in a forked process, which ends with status 0 if it came to its end; return its process id."""
    # A signal waits until the child can end by itself: before, it would go on as this program.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return child
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work()
    except KeyboardInterrupt:
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def timed(work: partial[None]) -> float:
    began = time.perf_counter()
    assert os.waitpid(forked(work), 0)[1] == 0
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
