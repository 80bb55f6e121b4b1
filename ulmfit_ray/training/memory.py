"""How the C library's allocator must be told to behave where training runs on a CPU."""

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Environment variables, read when a process starts, that make it keep large blocks of memory. By default glibc
returns them to the system at each step and requests them again. With these settings a retriever's training step takes
a quarter less time, a language model's with torch's own softmax almost half (model.softmax makes no large blocks).
Ray Train trains in a thread, whose own arena would not keep memory: hence the one arena for all. Without it 200 steps
of 400-1152-3 with 60,000 words took 606 s on Ray instead of 484 (benchmarks/train_overhead.py)."""
