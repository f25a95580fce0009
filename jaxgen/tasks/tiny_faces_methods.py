"""The methods that a run can compare: the detector alone, and with second opinions.

    detector             its own scores
    bicubic_classifier   small boxes scored anew by the classifier on bicubically enlarged crops
    full                 by the discriminator on the generator's images

Which of them there are depends on the stages that are done. How two scores become one is
config.gan.fusion, see tiny_faces_rescoring.py.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from jaxgen.tasks import tiny_faces_gan_stages, tiny_faces_rescoring
from jaxgen.tasks import tiny_faces_players as players
from jaxgen.tasks.detection_inference import Found
from jaxgen.tasks.tiny_faces_players import Variables
from jaxgen.tasks.tiny_faces_rescoring import SecondOpinion
from jaxgen.training import hosts

# (image uint8 [H, W, 3], Found, keep_images=False) -> SecondOpinion
LookAgain = Callable[..., SecondOpinion]


def second_opinions(config, workdir: Path, devices: Mesh) -> dict[str, LookAgain]:
    """Every second opinion that the finished stages allow, by method, the best last."""
    variables = {}
    if tiny_faces_gan_stages.is_done(config, workdir, "discriminator"):
        state, _ = tiny_faces_gan_stages.restore(config, workdir, devices, "discriminator")
        variables["bicubic_classifier"] = Variables(None, players.averaged(state).discriminator)
    if tiny_faces_gan_stages.is_done(config, workdir, "gan"):
        state, _ = tiny_faces_gan_stages.restore(config, workdir, devices, "gan")
        variables["full"] = players.averaged(state)
    rescore = tiny_faces_rescoring.compile_rescore(config)
    return {
        method: partial(_look_again, config, partial(rescore, hosts.fetch(each)))
        for method, each in variables.items()
    }


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


def _look_again(config, rescore, image, found: Found, *, keep_images=False) -> SecondOpinion:
    """A second look at the faces of a picture; NaN in place of a score is none.

    A face without a score gets that of the second look alone, or NaN again where there was none.
    """
    known = np.isfinite(found.scores)
    scores = np.where(known, found.scores, 0.5)
    opinion = tiny_faces_rescoring.look_again(
        config, rescore, image, found.boxes, scores, keep_images=keep_images
    )
    return opinion._replace(
        scores=np.where(known, opinion.scores, opinion.face_probability).astype(np.float32)
    )
