"""An output as a job leaves it, for tests of its report: units, quarantine, failures, launches; without any job."""

import json
import time

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.launches import Launch, write_launches
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.plan import unit_stem, write_plan
from ulmfit_ray.storage.receipts import Receipt

HOSTILE = "<script>alert('id')</script><img src=x onerror=alert(1)>\u202e\ud800\x00 & \" '"
VERSIONS = {"python": "3.11.2", "ulmfit-ray": "0.1.0", "ray": "2.60.0"}


def launch(number: int, ending: str, reason: str = "") -> Launch:
    """Return the launch of a certain hour; it took 95 seconds."""
    began = f"2026-03-0{number}T09:00:00.000+00:00"
    ended = "" if ending == "running" else f"2026-03-0{number}T09:01:35.000+00:00"
    return Launch(
        command="ulmfit-ray tokenize --input corpus.jsonl --output out",
        host="node-7",
        pid=4711,
        ray="a session of its own",
        began=began,
        ended=ended,
        ending=ending,  # type: ignore[arg-type]
        reason=reason,
        versions=VERSIONS,
    )


def make_output(folder: Folder, *, num_units: int = 60, num_done: int = 60, launches: tuple[Launch, ...] = ()) -> None:
    """Write what a tokenize job leaves; with fewer units done than there are it has not finished."""
    rng = np.random.default_rng(7)
    config = {"input": [f"corpus/{HOSTILE}"], "output": folder.uri, "text_columns": ["title", "text"], "seed": 1}
    job = JobRecord("tokenize", "ulmfit-ray tokenize --input corpus.jsonl --output out", config, {"corpus": "c" * 64})
    folder.publish_bytes(json.dumps({"job": job.to_json()}).encode(), "config.json")
    rows = {
        "unit": np.arange(num_units),
        "path": [f"corpus/{number:03d}-{HOSTILE[:-30] if number == 3 else ''}.jsonl" for number in range(num_units)],
        "streamed": [False] * num_units,
    }
    plan = write_plan(folder, pa.table(rows), identity={"verb": "tokenize"})
    receipts = []
    for number in range(num_done):
        stem, seconds = unit_stem(number), 30.0 if number == 3 else float(rng.lognormal(1.1, 0.35))
        tokens = int(rng.integers(180_000, 260_000))
        bad = {"malformed JSON": 2, f"null text {HOSTILE[:8]}": 1} if number in (3, 5) else {}
        receipt = Receipt(
            plan=plan.fingerprint,
            shard=stem,
            num_documents=781,
            num_tokens=tokens,
            quarantined=bad,
            seconds=seconds,
        )
        if bad:
            lines = [
                {"path": HOSTILE, "offset": 17, "reason": "malformed JSON", "detail": f"Expecting ',' at {HOSTILE}"},
                {"path": "corpus/b.jsonl", "offset": 4_000, "reason": "malformed JSON", "detail": "ends in a string"},
                {"path": "corpus/c.jsonl", "offset": 0, "reason": f"null text {HOSTILE[:8]}", "detail": "no text"},
            ]
            content = "".join(json.dumps(line) + "\n" for line in lines).encode()
            folder.publish_bytes(content, f"quarantine/{stem}.jsonl")
        files = {f"shards/{stem}.arrow": lambda path: path.write_bytes(b"shard")}
        receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))  # type: ignore[arg-type]
    if num_done < num_units:
        text = f"ValueError: {HOSTILE[:-30]}\n\nTraceback (most recent call last):\n  ...\n"
        folder.publish_bytes(text.encode(), f"failed/{unit_stem(num_done)}.txt")
    else:
        manifest = Manifest(
            job="tokenize",
            vocab="a1" * 32,
            tokenizer="b2" * 32,
            plan=plan.fingerprint,
            files={},
            figures={
                "vocab_size": 30_000,
                "num_types": 182_331,
                "unknown_rate": 0.0123,
                "seconds": 812.5,
                "document_lengths": {"mean": 281.5, "median": 240, "longest": 19_833},
                "most_frequent_tokens": {HOSTILE[:-30]: 900_000, "xxmaj": 700_000, "the": 600_000, ",": 500_000},
            },
        )
        write_dataset_manifest(folder, receipts, "arrow", manifest)
    write_launches(folder, launches)
