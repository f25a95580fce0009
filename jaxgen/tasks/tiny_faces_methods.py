"""The methods that a run can compare: the detector alone, and with second opinions.

    detector             its own scores
    bicubic_classifier   small boxes scored anew by the classifier on bicubically enlarged crops
    full                 by the discriminator on the generator's images

Which of them there are depends on the stages that are done. How two scores become one is
config.gan.fusion, see tiny_faces_rescoring.py; with its rule "chosen" each method has its own, see
tiny_faces_fusion.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxgen.tasks import (
    tiny_faces,
    tiny_faces_fusion,
    tiny_faces_gan_stages,
    tiny_faces_rescoring,
)
from jaxgen.tasks import tiny_faces_players as players
from jaxgen.tasks.detection_inference import Found
from jaxgen.tasks.tiny_faces_evaluation import GroundTruth
from jaxgen.tasks.tiny_faces_rescoring import SecondOpinion
from jaxgen.training import hosts

# Method -> the stage whose networks it uses, the best last.
STAGES = {"bicubic_classifier": "discriminator", "full": "gan"}

# (image uint8 [H, W, 3], Found, keep_images=False) -> SecondOpinion
LookAgain = Callable[..., SecondOpinion]


class Method(NamedTuple):
    """A trained second look."""

    stage: str
    step: int
    rescore: Callable[[np.ndarray], tiny_faces.Rescored]  # of low uint8 [N, l, l, 3]


def trained(config, workdir: Path, devices: Mesh) -> dict[str, Method]:
    """Every second look that the finished stages allow, by method, the best last."""
    found = {}
    rescore = tiny_faces_rescoring.compile_rescore(config)
    for method, stage in STAGES.items():
        if tiny_faces_gan_stages.is_done(config, workdir, stage):
            state, step = tiny_faces_gan_stages.restore(config, workdir, devices, stage)
            variables = hosts.fetch(players.averaged(state))
            found[method] = Method(stage, step, partial(rescore, variables))
    return found


def second_opinions(config, workdir: Path, devices: Mesh) -> dict[str, LookAgain]:
    """Every second opinion that the finished stages allow, by method, the best last.

    Raises:
        ConfigError: how a method joins both scores has not been chosen.
    """
    found = {}
    for name, method in trained(config, workdir, devices).items():
        folder = workdir / method.stage
        fusion = tiny_faces_fusion.settings_of(config, folder, method.step)
        found[name] = partial(_look_again, config, method.rescore, fusion)
    return found


def choose_fusions(
    config,
    workdir: Path,
    methods: Mapping[str, Method],
    scenes: Sequence[dict],
    truth: GroundTruth,
    found: Sequence[Found],
    facts: Mapping[str, Any],
) -> None:
    """Chooses how each method joins both scores, and writes it to the folder of its stage.

    Args:
        config: of the run.
        workdir: of the run.
        methods: of `trained`.
        scenes: held out of training.
        truth: of them.
        found: the detector's boxes in them.
        facts: JSON-able, what the choice hangs on besides the checkpoint of the stage.
    """
    for name, method in methods.items():
        looks = {
            row: tiny_faces_rescoring.look(
                config,
                method.rescore,
                scenes[row]["image"],
                *found[row],
                longest_side=tiny_faces_fusion.SIDES[-1],
                most=len(found[row].boxes),  # a rule for smaller boxes looks at worse ones
            )
            for row in range(hosts.index(), len(found), hosts.count())
        }
        looks = tiny_faces_fusion.gather(looks)
        choice = tiny_faces_fusion.choose(
            looks,
            truth,
            most=config.gan.fusion.most,
            nms_iou=config.detector.inference.nms_iou,
        )
        made_with = {**facts, "step": method.step}
        tiny_faces_fusion.write(workdir / method.stage, choice, looks, truth, made_with)
        if hosts.is_first():
            alone, with_it = choice.alone, choice.figures
            print(
                f"{name}: {choice.fusion}; on held-out scenes AP below 16 px "
                f"{alone.small:.1f} -> {with_it.small:.1f}, of all faces "
                f"{alone.all:.1f} -> {with_it.all:.1f}"
            )
    hosts.wait_for_all("rules are chosen")


def rescored(
    look_again: LookAgain, scenes: Sequence[dict], found: Sequence[Found]
) -> list[np.ndarray]:
    """Predictions [N, 5] of every scene after a second look, alike on every process.

    Each scene is read once, by one of the processes.
    """
    predictions = {}
    for row in range(hosts.index(), len(found), hosts.count()):
        opinion = look_again(scenes[row]["image"], found[row])
        predictions[row] = np.concatenate([opinion.boxes, opinion.scores[:, None]], 1)
    return hosts.gather_lists(predictions, width=5)


def _look_again(config, rescore, fusion, image, found: Found, *, keep_images=False):
    """A second look at the faces of a picture; NaN in place of a score is none.

    A face without a score gets that of the second look alone, or NaN again where there was none.
    """
    known = np.isfinite(found.scores)
    scores = np.where(known, found.scores, 0.5)
    opinion = tiny_faces_rescoring.look_again(
        config, rescore, image, found.boxes, scores, fusion=fusion, keep_images=keep_images
    )
    scores = np.where(known[opinion.rows], opinion.scores, opinion.face_probability)
    return opinion._replace(scores=scores.astype(np.float32))
