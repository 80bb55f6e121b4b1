"""Make an index of an embedding dataset, for searches over many documents.

    python jobs/index_embeddings.py --embeddings embeddings --tokens tokens --output index
    python jobs/search.py --embeddings embeddings --index index --model models/retriever --hybrid --query "vitamin D"

Reads an embedding dataset, and for searches by words too the documents' tokens. Writes one directory, which says how
much of an exact search the index finds. Needs `pip install 'ulmfit-ray[search]'` (FAISS), and no Ray.
"""

from launch import launch

if __name__ == "__main__":
    launch("index")
