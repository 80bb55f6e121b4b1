"""Pretrain an AWD-LSTM language model on a token dataset.

    python jobs/pretrain_lm.py --tokens tokens --output models/lm --scaling.num-workers 8 --scaling.use-gpu
    ray job submit --working-dir . -- python jobs/pretrain_lm.py config.toml --output s3://models/lm

Reads a token dataset. Writes a model directory (README: formats). Run the same command again after a crash: it
goes on with the batch after the newest checkpoint, with any number of workers.
"""

from launch import launch

if __name__ == "__main__":
    launch("pretrain")
