"""The search index: a directory beside an embedding dataset, of whose rows it speaks by their numbers.

`index.faiss`; of kind ivf-pq `vectors.npy` (the unit vectors in half precision); with words `bm25/` (as bm25s writes
it) and `moments.npy` (mean and covariance of the unit vectors). All are local files to what reads them.
"""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, read_manifest, write_manifest

WORDS_FOLDER, MOMENTS_FILE = "bm25", "moments.npy"


class SearchIndex:
    """A finished search index, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, ["index"])
        self.job = read_job(self.folder)

    @property
    def has_words(self) -> bool:
        """Tell whether there is an index of the documents' words beside that of their vectors."""
        return MOMENTS_FILE in self.manifest.files

    def check_embeddings(self, embeddings: EmbeddingDataset) -> None:
        """Raise ValueError if the index is of other vectors than these."""
        if self.job.inputs["embeddings"] != embeddings.fingerprint:
            raise ValueError(
                f"index {self.folder.uri} was not made of {embeddings.folder.uri}, as it is now, but of"
                f" {self.job.config['embeddings']}:\n"
                f"    make another: ulmfit-ray index --embeddings {embeddings.folder.uri} --output ..."
            )

    def files(self) -> AbstractContextManager[Path]:
        """Give a local folder with the files: this one, or a copy that is gone afterwards."""
        return self.folder.local_files(self.manifest.files)


def publish_index(folder: Folder, place: Path, manifest: Manifest) -> Manifest:
    """Publish all files below a local folder, the manifest with their hashes last, and return the manifest."""
    files = {}
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        name = path.relative_to(place).as_posix()
        files[name] = sha256_file(path)
        folder.publish(path, name)
    return write_manifest(folder, replace(manifest, files=files))
