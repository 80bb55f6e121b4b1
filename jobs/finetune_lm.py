"""Fine-tune a language model on a token dataset with a vocabulary of its own.

    python jobs/finetune_lm.py --model models/wt103 --tokens tokens --output models/reviews --scaling.use-gpu
    ray job submit --working-dir . -- python jobs/finetune_lm.py config.toml --output s3://models/reviews

Reads a model directory and a token dataset. Writes a model directory (README: formats). Run the same command again
after a crash: it goes on with the batch after the newest checkpoint, with any number of workers.
"""

from launch import launch

if __name__ == "__main__":
    launch("finetune")
