"""Train a retriever on a language model and the corpus's own pairs of fields.

    python jobs/train_retriever.py --model models/lm --tokens tokens --pairs title:text --output models/retriever

Reads a language model and a token dataset with several text columns. Writes a model directory whose query and
document vectors match by dot product. Run the same command again after a crash: it goes on from the newest
checkpoint.
"""

from launch import launch

if __name__ == "__main__":
    launch("train-retriever")
