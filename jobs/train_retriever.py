"""Train a retriever on the corpus's own text: titles, and spans of documents, find their document. No labels.

    python jobs/train_retriever.py --tokens tokens --pairs title:text --blocks words --output models/retriever

Reads a token dataset, and a language model if there is to be a context block. Writes a model directory whose query and
document vectors match by dot product. Run the same command again after a crash: it goes on from the newest
checkpoint.
"""

from launch import launch

if __name__ == "__main__":
    launch("train-retriever")
