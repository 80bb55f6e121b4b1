"""Measure a language model on tokens, classifiers on labelled documents, or vectors against relevance judgments.

    python jobs/evaluate.py lm --model models/lm --tokens valid --columns 10 --per-document documents.parquet

    python jobs/evaluate.py retrieval --embeddings embeddings --model models/retriever --tokens tokens \\
        --queries queries.jsonl --qrels qrels.tsv --output figures.json

    python jobs/evaluate.py classifier --model models/forward models/backward --tokens test --output figures.json \\
        --confusion confusion --worst 20
    python jobs/evaluate.py classifier --predictions predictions --label sentiment

lm reads a model and a token dataset of its vocabulary. retrieval reads an embedding dataset, its model, its tokens, and
a judged collection in BEIR's layout, whose document ids the corpus must have (tokenize it with --id-column); beside it
stand TF-IDF and BM25. classifier reads classifiers and a token dataset of their vocabulary that kept the labels, or
predictions and the tokens they were made from; and the training documents too, for the baseline: TF-IDF with word
pairs (pip install 'ulmfit-ray[evaluate]'). All print a table. A file that is there, --output, --per-document or
--confusion, is replaced only with --overwrite.
"""

from launch import launch

if __name__ == "__main__":
    launch("evaluate")
