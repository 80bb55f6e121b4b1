"""Measure vectors against relevance judgments, beside TF-IDF and BM25 of the same tokens.

    python jobs/evaluate.py retrieval --embeddings embeddings --model models/retriever --tokens tokens \\
        --queries queries.jsonl --qrels qrels.tsv --output figures.json

Reads an embedding dataset, its model, its tokens, and a judged collection in BEIR's layout. Prints a table.
"""

import sys

from ulmfit_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
