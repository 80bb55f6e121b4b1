"""Encode a token dataset, or raw text, into an embedding dataset.

    python jobs/embed_corpus.py --model models/retriever --input tokens --output embeddings
    python jobs/embed_corpus.py --model models/retriever --input 'corpus/*.jsonl.gz' --output embeddings
    ray job submit --working-dir . -- python jobs/embed_corpus.py config.toml --output s3://embeddings

Reads a model directory and a token dataset with its vocabulary, or raw text, which the model's tokenizer cuts. Writes
Parquet shards, one for each shard that is read.
Run the same command again after a crash: shards with a receipt are not made twice.
"""

from launch import launch

if __name__ == "__main__":
    launch("embed")
