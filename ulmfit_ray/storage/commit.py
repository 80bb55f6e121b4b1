"""Commit a shard: build its files on this node, hash and publish them, and only then write its receipt.

A worker may die at any moment, and two may make the same shard at once. Both write the same bytes under temporary
names of their own, and a shard counts from the moment its receipt is there.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.scratch import scratch_directory

WriteFile = Callable[[Path], None]
"""Writes one file to the local path it is given."""


def commit_shard(
    folder: Folder, receipt: Receipt, files: Mapping[str, WriteFile], *, began: float, where: str = "done"
) -> Receipt:
    """Write, hash and publish a shard's files in the order given, then its receipt; return the receipt.

    `files` maps names in the folder to what writes them. `began` is when the work began by time.monotonic; the
    seconds since then, writing and publishing included, are added to those the receipt has already.
    """
    hashes = dict(receipt.files)
    with scratch_directory() as scratch:
        for name, write in files.items():
            local = scratch / Path(name).name
            write(local)
            hashes[name] = sha256_file(local)
            folder.publish(local, name)
    receipt = replace(receipt, files=hashes, seconds=receipt.seconds + time.monotonic() - began)
    folder.publish_json(asdict(receipt), f"{where}/{receipt.shard}.json")
    return receipt
