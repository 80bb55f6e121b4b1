"""Find the documents nearest to a query.

    python jobs/search.py --embeddings embeddings --model models/retriever --query "vitamin D and bone density" -k 5

    python jobs/search.py --embeddings embeddings --model models/retriever --hybrid --tokens tokens \\
        --queries queries.jsonl --output hits.parquet

    python jobs/search.py --embeddings embeddings --model models/retriever --index index --query "vitamin D"

Reads an embedding dataset and the model that made it, and an index of it if one is named; for --hybrid, which ranks by
words and vectors together, the documents' tokens too, unless their words are in the index. Prints a table, or JSON
lines with --json, or writes JSONL or Parquet with --output.
"""

from launch import launch

if __name__ == "__main__":
    launch("search")
