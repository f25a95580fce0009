"""Builds an optax optimiser from one section of a config."""

import optax


def learning_rate(section, steps: int) -> optax.Schedule:
    """Learning rate by step.

    Args:
        section: has learning_rate, schedule ("constant"; "cosine" down to zero at `steps`;
            "step", a tenth after two thirds of `steps`; "half", a tenth after half of them;
            "linear", down to zero over the second half) and warmup_steps (linear).
        steps: length of the run. What an optimiser counts are its own updates: of a player that
            rests in some steps, schedules end later than the run.
    """
    peak, warmup = section.learning_rate, min(section.warmup_steps, steps - 1)
    fall = max(steps // 2, warmup)  # where "linear" begins to fall
    rest = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(steps - warmup, 1)),
        "linear": lambda: optax.linear_schedule(
            peak, 0.0, steps - fall, transition_begin=fall - warmup
        ),
        "step": lambda: optax.piecewise_constant_schedule(peak, {steps * 2 // 3 - warmup: 0.1}),
        "half": lambda: optax.piecewise_constant_schedule(peak, {steps // 2 - warmup: 0.1}),
    }[section.schedule]()
    if not warmup:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), rest], [warmup])


def make_optimiser(section, steps: int) -> optax.GradientTransformation:
    """Adam with L2 inside the gradient (name "adam") or decoupled decay ("adamw"); or "sgd".

    The L2 form is what most papers of 2017-2019 mean by Adam with weight decay. `b1` is the
    momentum of "sgd".
    Gradients are clipped to `clip_norm` (global norm) when it is above 0.
    """
    adam = optax.scale_by_adam(b1=section.b1)
    decay = optax.add_decayed_weights(section.weight_decay)
    momentum = optax.trace(decay=section.b1)
    order = {"adam": (decay, adam), "adamw": (adam, decay), "sgd": (decay, momentum)}[section.name]
    clip = (optax.clip_by_global_norm(section.clip_norm),) if section.clip_norm else ()
    return optax.chain(*clip, *order, optax.scale_by_learning_rate(learning_rate(section, steps)))
