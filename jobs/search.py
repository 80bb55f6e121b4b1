"""Find the documents nearest to a query.

    python jobs/search.py --embeddings embeddings --model models/retriever --query "vitamin D and bone density" -k 5

Reads an embedding dataset and the model that made it. Prints a table, or writes JSONL or Parquet with --output.
"""

import sys

from ulmfit_ray.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("search", sys.argv[1:]))
