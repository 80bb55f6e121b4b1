"""Find a learning rate for a language model: a few steps at rates from tiny to huge, and what their losses suggest.

    python jobs/find_lr.py --tokens tokens --architecture.preset laptop --output build/lr
    ray job submit --working-dir . -- python jobs/find_lr.py config.toml --model /shared/lm --output s3://models/lr

Reads a token dataset, and a model if training is to go on from one; takes pretrain's options and its TOML files. Writes
the curve (lr_find.csv, lr_find.png) and prints the option to paste. Nothing of the training is kept.
"""

from launch import launch

if __name__ == "__main__":
    launch("lr-find")
