"""Measure a language model on tokens, or vectors against relevance judgments, beside TF-IDF and BM25.

    python jobs/evaluate.py lm --model models/lm --tokens valid --columns 10 --per-document documents.parquet

    python jobs/evaluate.py retrieval --embeddings embeddings --model models/retriever --tokens tokens \\
        --queries queries.jsonl --qrels qrels.tsv --output figures.json

lm reads a model and a token dataset of its vocabulary. retrieval reads an embedding dataset, its model, its tokens, and
a judged collection in BEIR's layout, whose document ids the corpus must have (tokenize it with --id-column). Both print
a table. A file that is there, --output or --per-document, is replaced only with --overwrite.
"""

from launch import launch

if __name__ == "__main__":
    launch("evaluate")
