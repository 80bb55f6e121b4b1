"""Tokenize a corpus into Arrow shards.

    python jobs/tokenize_corpus.py --input 'corpus/*.jsonl.gz' --text-columns title text --output tokens
    ray job submit --working-dir . -- python jobs/tokenize_corpus.py --input s3://corpus/ --output s3://tokens/

Reads txt, csv, jsonl, Parquet and more (README: what is read). Writes a token dataset (README: formats). Run the same
command again after a crash: shards with a receipt are not made twice.
"""

from launch import launch

if __name__ == "__main__":
    launch("tokenize")
