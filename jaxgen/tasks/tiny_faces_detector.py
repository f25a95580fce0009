"""The proposal detector of the tiny-faces system: one network, trained on crops with boxes.

Bai, Zhang, Ding and Ghanem (Finding tiny faces in the wild with GAN, CVPR 2018) take proposals
from MB-FCN, of which little is published; what stands in for it is said in
jaxgen/models/face_detection.py. This file is its training: which anchors learn which face, the
loss, one step; and how boxes come out of a trained network.

Contract: images arrive as uint8 [B, H, W, 3], sides multiples of 32. A training batch is
{"faces": {"image", "boxes", "is_face", "is_ignored"}} of jaxgen.data.detection_batches. Boxes are
(x0, y0, x1, y1) pixels, edge to edge.
"""

from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from jaxgen.kernels import anchors as anchor_kernels
from jaxgen.kernels import boxes as box_kernels
from jaxgen.kernels.pixels import scale
from jaxgen.models.face_detection import FaceDetector, RawDetections, detector_anchors
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

# The network gives offsets in these units, so that all four are of the size of 1 (SSD, 2016).
OFFSET_SCALE = (0.1, 0.1, 0.2, 0.2)


@flax.struct.dataclass
class State:
    """Training of the detector."""

    step: jax.Array  # [] int32
    key: jax.Array
    network: Player


class Detections(NamedTuple):
    """Faces found, best first; rows that are not `valid` hold zeros."""

    boxes: jax.Array  # [B, N, 4] float32 (x0, y0, x1, y1), pixels
    scores: jax.Array  # [B, N] float32 in [0, 1]
    valid: jax.Array  # [B, N] bool


# -------------------------------------------------------------------------------- network


def network(config) -> FaceDetector:
    """The detector of a config."""
    model, anchors = config.detector.model, config.detector.anchors
    return FaceDetector(
        backbone=model.backbone,
        width=model.width,
        norm=model.norm,
        features=model.features,
        strides=tuple(anchors.strides),
        anchors_per_cell=tuple(len(sizes) for sizes in anchors.sizes),
        max_out=model.max_out,
        dtype=jnp.dtype(config.model.dtype),
    )


def anchors_of(config, shape: tuple[int, int]) -> jax.Array:
    """Anchors of an image of this shape. -> [A, 4] float32."""
    settings = config.detector.anchors
    return jnp.asarray(
        detector_anchors(
            shape, strides=settings.strides, sizes=settings.sizes, aspect=settings.aspect
        )
    )


def init_state(config, key: jax.Array) -> State:
    """A detector at step 0; ImageNet weights are put in by `with_pretrained`."""
    key_network, key_run = jax.random.split(key)
    variables = network(config).init(key_network, jnp.zeros((1, 64, 64, 3)), train=False)
    player = new_player(variables, _optimiser(config), ema=True)
    return State(jnp.zeros((), jnp.int32), key_run, player)


def with_pretrained(state: State, variables: Any) -> State:
    """The same state with other variables {"params", "batch_stats"}, averages too."""
    player = state.network.replace(
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        ema=jax.tree.map(jnp.copy, variables),
    )
    return state.replace(network=player)


# ------------------------------------------------------------------------------- training


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """One step; donate `state`. Nothing here is random: the batches are."""
    anchors = anchors_of(config, batch["faces"]["image"].shape[1:3])

    def detector_loss(params, faces, key):
        del key
        images, matches = scale(faces["image"]), match_batch(config, anchors, faces)
        variables = {"params": params, "batch_stats": state.network.batch_stats}
        raw, mutated = network(config).apply(variables, images, train=True, mutable=["batch_stats"])
        class_loss, box_loss = losses_of(config, raw, anchors, matches, faces["boxes"])
        loss = class_loss.mean() + config.detector.loss.box_weight * box_loss.mean()
        metrics = {
            "class_loss": class_loss.mean(),
            "box_loss": box_loss.mean(),
            "positive_anchors": matches.positive.sum(1).mean(),
        }
        return loss, ((mutated.get("batch_stats", {}), metrics), ())

    gradient = value_and_grad(detector_loss, config.detector.train.micro_batches)
    (loss, ((batch_stats, metrics), _)), grads = gradient(
        state.network.params, batch["faces"], state.key
    )
    player, norms = update(
        state.network,
        grads,
        batch_stats,
        optimiser=_optimiser(config),
        ema_decay=ema_decay_at(state.step, config.detector.train.ema_decay),
    )
    state = state.replace(step=state.step + 1, network=player)
    return state, {"loss": loss, **metrics, **norms}


def match_batch(config, anchors: jax.Array, faces: Any) -> anchor_kernels.Matches:
    """What every anchor of every image is to learn; [B, A] each."""
    settings = config.detector.loss

    def match_one(boxes, is_face, is_ignored):
        return anchor_kernels.match(
            anchors,
            boxes,
            is_face,
            is_ignored,
            positive_iou=settings.positive_iou,
            negative_iou=settings.negative_iou,
            least_anchors=settings.least_anchors,
        )

    return jax.vmap(match_one)(faces["boxes"], faces["is_face"], faces["is_ignored"])


def losses_of(config, raw: RawDetections, anchors, matches, boxes):
    """Class and box loss of each image, per positive anchor of the whole batch's mean image.

    An image without faces has a class loss all the same: its background is known.

    Args:
        config: section detector.loss.
        raw: what the network said.
        anchors: [A, 4].
        matches: of `match_batch`.
        boxes: [B, M, 4].

    Returns:
        [B] and [B] float32; their means are the losses of the batch.
    """
    settings = config.detector.loss
    # One normaliser for the batch: an image with one tiny face must not outweigh a crowd.
    positives = jnp.maximum(matches.positive.sum(1).mean(), 1)
    if settings.classification == "focal":
        each = focal_loss(
            raw.logits, matches.positive, alpha=settings.focal_alpha, gamma=settings.focal_gamma
        )
        asked = matches.positive | matches.negative
    else:
        each = optax.sigmoid_binary_cross_entropy(raw.logits, matches.positive.astype(jnp.float32))
        hardest = jax.vmap(lambda *one: hard_negatives(*one, ratio=settings.ohem_ratio))
        asked = matches.positive | hardest(each, matches.positive, matches.negative)
    class_loss = jnp.where(asked, each, 0).sum(1) / positives

    true_boxes = jnp.take_along_axis(boxes, matches.face[..., None], 1)  # [B, A, 4]
    # Padding has no area: its offsets would be large, and 0 times infinity is not 0.
    everywhere = jnp.broadcast_to(anchors, true_boxes.shape)
    true_boxes = jnp.where(matches.positive[..., None], true_boxes, everywhere)
    offset_scale = jnp.asarray(OFFSET_SCALE)
    if settings.box == "smooth_l1":
        target = box_kernels.encode(true_boxes, everywhere) / offset_scale
        each = optax.huber_loss(raw.offsets, target).sum(-1)
    else:
        found = box_kernels.decode(raw.offsets * offset_scale, everywhere)
        each = giou_loss(found, true_boxes)
    box_loss = jnp.where(matches.positive, each, 0).sum(1) / positives
    return class_loss, box_loss


def focal_loss(logits: jax.Array, is_face: jax.Array, *, alpha: float, gamma: float) -> jax.Array:
    """Cross-entropy that forgets what is already right. [...] twice -> [...] float32.

    Args:
        logits: of being a face.
        is_face: bool.
        alpha: weight of faces; background has 1 - alpha.
        gamma: how fast it forgets; 0 is weighted cross-entropy.

    Source: Lin et al., Focal loss for dense object detection, ICCV 2017, equation 5.
    """
    against = jnp.where(is_face, -logits, logits)
    # (1 - probability of the truth)^gamma, whose gradient is finite where that is 0.
    forget = jnp.exp(gamma * jax.nn.log_sigmoid(against))
    return jnp.where(is_face, alpha, 1 - alpha) * forget * jax.nn.softplus(against)


def hard_negatives(
    loss: jax.Array, positive: jax.Array, negative: jax.Array, *, ratio: float
) -> jax.Array:
    """The negatives of one image that it gets most wrong, `ratio` for every positive.

    Args:
        loss: [A].
        positive: [A] bool.
        negative: [A] bool.
        ratio: negatives for every positive; an image without faces counts as one positive.

    Returns:
        [A] bool.

    Source: Liu et al., SSD, ECCV 2016, section 2.2.
    """
    loss = jax.lax.stop_gradient(jnp.where(negative, loss, -jnp.inf))
    rank = jnp.argsort(jnp.argsort(-loss))  # 0 is the hardest
    return negative & (rank < ratio * jnp.maximum(positive.sum(), 1))


def giou_loss(found: jax.Array, true: jax.Array) -> jax.Array:
    """1 - generalised IoU of boxes, pair by pair. [..., 4] twice, with area -> [...] in [0, 2].

    Source: Rezatofighi et al., Generalized intersection over union, CVPR 2019.
    """
    (found_low, found_high), (true_low, true_high) = (
        (boxes[..., :2], boxes[..., 2:]) for boxes in (found, true)
    )

    def area_between(low, high):
        return box_kernels.area(jnp.concatenate([low, high], -1))

    shared = area_between(jnp.maximum(found_low, true_low), jnp.minimum(found_high, true_high))
    hull = area_between(jnp.minimum(found_low, true_low), jnp.maximum(found_high, true_high))
    union = box_kernels.area(found) + box_kernels.area(true) - shared
    union, hull = jnp.maximum(union, 1e-6), jnp.maximum(hull, 1e-6)
    return 1 - shared / union + (hull - union) / hull


# ------------------------------------------------------------------------------ prediction


def predict(config, variables: Any, images: jax.Array) -> Detections:
    """Faces in images; suppression of repeats is part of the compiled function.

    Args:
        config: section detector.inference.
        variables: {"params", "batch_stats"}.
        images: uint8 [B, H, W, 3].

    Returns:
        Detections of config.detector.inference.max_boxes rows for each image.
    """
    settings = config.detector.inference
    raw = network(config).apply(variables, scale(images), train=False)
    anchors = anchors_of(config, images.shape[1:3])

    def select(logits, offsets):
        boxes = box_kernels.decode(offsets * jnp.asarray(OFFSET_SCALE), anchors)
        best = box_kernels.top_k(
            boxes, jax.nn.sigmoid(logits), k=settings.candidates, floor=settings.score_floor
        )
        return box_kernels.nms(best, iou_threshold=settings.nms_iou, k=settings.max_boxes)

    return Detections(*jax.vmap(select)(*raw))


def _optimiser(config):
    return make_optimiser(config.detector.optimiser, config.detector.train.steps)
