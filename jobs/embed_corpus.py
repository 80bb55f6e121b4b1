"""Encode a token dataset into an embedding dataset.

    python jobs/embed_corpus.py --model models/retriever --input tokens --output embeddings
    ray job submit --working-dir . -- python jobs/embed_corpus.py config.toml --output s3://embeddings

Reads a model directory and a token dataset with its vocabulary. Writes Parquet shards, one for each token shard.
Run the same command again after a crash: shards with a receipt are not made twice.
"""

import sys

from ulmfit_ray.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("embed", sys.argv[1:]))
