"""Predict the labels of documents, by one classifier or by the mean of several.

    python jobs/classify_corpus.py --model models/forward models/backward --input tokens --output predictions
    python jobs/classify_corpus.py --model models/words models/pieces --input 'corpus/*.csv.gz' --output predictions
    ray job submit --working-dir . -- python jobs/classify_corpus.py config.toml --output s3://predictions

Reads the directories of classifiers with the same labels, and a token dataset with their vocabulary, or raw text, which
each model's own tokenizer cuts. Writes Parquet shards, one for each shard that is read: the prediction, and the
probability of each label.
Run the same command again after a crash: shards with a receipt are not made twice.
"""

from launch import launch

if __name__ == "__main__":
    launch("classify")
