"""CMU Multi-PIE: 337 people, 13 cameras at the height of the head, 20 lights, four visits.

Files are found by their names anywhere below the folder:

    IDENTITY_SESSION_RECORDING_CAMERA_LIGHT.png, such as 001_01_01_051_07.png

Two more cameras look from above (081, 191) and are left out. The protocol of DR-GAN and the works
before it: people 1 to 200 train, the others are tested; `gallery` holds one frontal picture a test
person, neutral and with light 07 (recording 01, camera 051, the first visit there is), `probe` all
their other pictures. Options choose cameras, recordings and lights: the nine cameras up to 60
degrees and recording 01, the neutral one of every visit, are the defaults.

The set comes without landmarks: give the option `landmarks` (see `recognition_builder`), or
pictures that are cut to the face.
"""

import re

import tensorflow_datasets as tfds

from jaxgen.data.builders import images, recognition_builder
from jaxgen.data.builders.recognition_builder import Picture

# Camera -> yaw in degrees. The cameras stand 15 degrees apart on an arc around the head. 240 sees
# the right profile (the nose points to the image's right), 110 the left one.
YAWS = dict(
    zip(
        ("110", "120", "090", "080", "130", "140", "051", "050", "041", "190", "200", "010", "240"),
        range(-90, 91, 15),
        strict=True,
    )
)
NINE = tuple(camera for camera, yaw in YAWS.items() if abs(yaw) <= 60)
TRAIN_PEOPLE = 200
_NAME = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})(?!\d)", re.ASCII)


class Multipie(recognition_builder.RecognitionBuilder):
    """Multi-PIE in the protocol of DR-GAN."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "Multi-Pie"
    LAYOUT = "  any folders with IDENTITY_SESSION_RECORDING_CAMERA_LIGHT.png (001_01_01_051_07.png)"
    # Comma-separated; "" takes all.
    OPTIONS = {  # noqa: RUF012
        **recognition_builder.OPTIONS,
        "cameras": ",".join(NINE),
        "recordings": "01",
        "lights": "",
    }

    @classmethod
    def picture_files(cls, manual_dir, options):
        """Every picture whose name fits, of the chosen cameras, recordings and lights."""
        cameras = _listed(options["cameras"]) or set(YAWS)
        unknown = sorted(cameras - set(YAWS))
        if unknown:
            raise ValueError(f"option cameras of multipie knows {list(YAWS)}, got {unknown[0]!r}")
        recordings, lights = _listed(options["recordings"]), _listed(options["lights"])
        found = []
        for path in images.list_images(manual_dir):
            parts = _parts(path)
            if (
                parts
                and parts[3] in cameras
                and (not recordings or parts[2] in recordings)
                and (not lights or parts[4] in lights)
            ):
                found.append(path)
        return found

    def pictures(self):
        """Train, gallery and probe."""
        config = self.builder_config
        found = {}
        for path in self.picture_files(config.manual_dir, config.options):
            parts = _parts(path)
            if parts in found:
                raise ValueError(f"{path}: the same picture as {found[parts].path}, delete one")
            found[parts] = Picture(
                path,
                parts[0],
                name="_".join(parts),
                yaw=float(YAWS[parts[3]]),
                subset=f"light_{parts[4]}",
            )
        train = [p for parts, p in found.items() if int(parts[0]) <= TRAIN_PEOPLE]
        tested = {parts: p for parts, p in found.items() if int(parts[0]) > TRAIN_PEOPLE}
        gallery = {}
        for parts in sorted(tested):
            if parts[2:] == ("01", "051", "07"):
                gallery.setdefault(parts[0], parts)  # of the first visit
        absent = sorted({parts[0] for parts in tested} - set(gallery))
        if absent:
            raise ValueError(
                f"Multi-PIE in {config.manual_dir}: person {absent[0]} has no frontal neutral "
                f"picture (IDENTITY_SESSION_01_051_07) for the gallery ({len(absent)} people)"
            )
        chosen = set(gallery.values())
        return {
            "train": train,
            "gallery": [tested[parts] for parts in sorted(chosen)],
            "probe": [p for parts, p in tested.items() if parts not in chosen],
        }


def _listed(option: str) -> set[str]:
    return {part.strip() for part in option.split(",") if part.strip()}


def _parts(path) -> tuple[str, ...] | None:
    """(identity, session, recording, camera, light) of a name that begins with them."""
    match = _NAME.match(path.name)
    return match.groups() if match else None
