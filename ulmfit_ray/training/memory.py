"""How the C library's allocator must be told to behave where training runs on a CPU."""

KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Environment of a process that keeps its large blocks instead of giving them back to the system at each step and
asking for them again: a retriever's step takes a quarter less, a step with the plain softmax almost half (ours makes
no large blocks: model.softmax). Read by glibc when a process starts."""
