"""Train a classifier on a language model and labelled documents: ULMFiT's third stage.

    python jobs/train_classifier.py --model models/lm --tokens labelled --label sentiment --output models/classifier
    ray job submit --working-dir . -- python jobs/train_classifier.py --model s3://models/lm --tokens s3://labelled \\
        --label sentiment --output s3://models/classifier --scaling.num-workers 8 --scaling.use-gpu

Reads a language model, and a token dataset of its vocabulary that kept the labels (tokenize --keep-columns sentiment
--vocab models/lm). Writes a model directory. Run the same command again after a crash: it goes on from the newest
checkpoint.
"""

from launch import launch

if __name__ == "__main__":
    launch("train-classifier")
