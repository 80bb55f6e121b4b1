"""Draw the documents of an embedding dataset so that similar ones lie close together.

    python jobs/map_corpus.py --embeddings embeddings --tokens tokens --output map

    python jobs/map_corpus.py --embeddings embeddings --tokens tokens --color label --clusters 20 --output map

Reads an embedding dataset, and the documents' tokens to name the clusters by their words. Writes map.html (to look
around in), map.png (for a paper) and map.parquet (places and clusters).
"""

from launch import launch

if __name__ == "__main__":
    launch("map")
