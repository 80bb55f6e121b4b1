"""Train one model for each setting of a grid, several at once, and compare them.

    python jobs/sweep.py pretrain config.toml --tokens tokens --output sweeps/lm \\
        --grid training.learning_rate=1e-3,4e-3,1e-2 --grid architecture.dropout_scale=0.5,1
    ray job submit --working-dir . -- python jobs/sweep.py pretrain config.toml --output s3://sweeps/lm \\
        --grid seed=0,1,2,3 --scaling.num-workers 4 --scaling.use-gpu --sweep.early-stopping asha

Takes the options of the training verb that is named first. Writes a model directory for each setting,
OUTPUT/training.learning_rate=0.001,.../, and sweep.parquet, sweep.csv and sweep.png over them all. Run the same command
again after a crash: finished settings stay, the others go on from their checkpoints. With another --grid and the same
other options, its settings are added.
"""

from launch import launch

if __name__ == "__main__":
    launch("sweep")
