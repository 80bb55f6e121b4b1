"""Find the nearest other documents of every document, and groups of documents that are nearly the same.

    python jobs/find_neighbours.py --embeddings embeddings --output neighbours -k 10 --threshold 0.95
    ray job submit --working-dir . -- python jobs/find_neighbours.py config.toml --output s3://neighbours

Reads an embedding dataset. Writes a Parquet shard for each of its shards, and groups.parquet.
Run the same command again after a crash: shards with a receipt are not made twice.
"""

from launch import launch

if __name__ == "__main__":
    launch("neighbours")
