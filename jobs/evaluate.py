"""Measure vectors against relevance judgments, beside TF-IDF and BM25 of the same tokens.

    python jobs/evaluate.py retrieval --embeddings embeddings --model models/retriever --tokens tokens \\
        --queries queries.jsonl --qrels qrels.tsv --output figures.json

Reads an embedding dataset, its model, its tokens, and a judged collection in BEIR's layout, whose document ids the
corpus must have (tokenize it with --id-column). Prints a table. A file --output that is there is replaced only with
--overwrite.
"""

from launch import launch

if __name__ == "__main__":
    launch("evaluate")
