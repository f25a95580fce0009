"""Sections that configs of stages share: how long a stage trains, and by which optimiser."""

import ml_collections


def schedule(*, steps: int, batch_size: int, every: int) -> ml_collections.ConfigDict:
    """Length of a stage and how often it reports; batch_size as each system counts it."""
    return ml_collections.ConfigDict(
        dict(
            steps=steps,
            batch_size=batch_size,
            ema_decay=0.99,
            log_every=max(1, every // 5),
            validate_every=every,
            checkpoint_every=every,
            tensorboard=True,
            # For large batches and networks, see docs/scaling.md.
            micro_batches=1,  # parts that a batch is worked through in
            shard_parameters_above=0,  # elements of an array; 0: every device holds all
            on_nan="stop",  # or "rollback": on from the last checkpoint with later data
            max_rollbacks=3,
        )
    )


def optimiser(
    learning_rate: float, *, schedule: str = "constant", b1: float = 0.9
) -> ml_collections.ConfigDict:
    """Adam without weight decay."""
    return ml_collections.ConfigDict(
        dict(
            name="adam",
            learning_rate=learning_rate,
            schedule=schedule,
            warmup_steps=0,
            weight_decay=0.0,
            b1=b1,
            clip_norm=0.0,
        )
    )
