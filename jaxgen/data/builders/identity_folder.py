"""Pictures of people: one folder a person. VGGFace2, CASIA-WebFace and a user's own.

    train/ann/1.jpg  test/bob/1.jpg  ...     splits are given; no person may be in two of them
    ann/1.jpg  bob/1.jpg  ...                a share of the people is held out as "test"

Without split folders, `test_fraction` of the people (by a hash of their names, at least one unless
it is 0) become `test`. VGGFace2 unpacks to `train` and `test`; CASIA-WebFace is one folder of
people, all of them for training. Poses of a set without pose labels come from the options `yaws` or
`landmarks`, see `recognition_builder`. A folder validation/ beside train/ is used in place of a
share of the training people.

Pictures are turned upright by their EXIF tag, so points and boxes belong to the upright picture.
"""

import itertools

import tensorflow_datasets as tfds

from jaxgen.data import hashing
from jaxgen.data.builders import images, recognition_builder

SPLITS = ("train", "validation", "test")


class IdentityFolder(recognition_builder.RecognitionBuilder):
    """A user's own people."""

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 stored pictures with an EXIF rotation sideways
    UPRIGHT = True
    LAYOUT = (
        "  {train,validation,test}/PERSON/*.jpg or *.png, or PERSON/*.jpg; see "
        "docs/recognition_data.md"
    )
    OPTIONS = {**recognition_builder.OPTIONS, "test_fraction": 0.2}  # noqa: RUF012

    @classmethod
    def picture_files(cls, manual_dir, options):
        """Every picture."""
        if not 0 <= options["test_fraction"] < 1:
            raise ValueError(
                f"option test_fraction of {cls.name} is at least 0 and below 1, got "
                f"{options['test_fraction']}"
            )
        return images.list_images(manual_dir)

    def pictures(self):
        """The given splits, or people held out."""
        root = self.builder_config.manual_dir
        given = {s: root / s for s in SPLITS if (root / s).is_dir()}
        if given:
            found = {
                split: recognition_builder.list_people(folder) for split, folder in given.items()
            }
            _check_people(root, found)
            return found
        found = recognition_builder.list_people(root)
        people = sorted({p.person for p in found}, key=lambda name: hashing.uniform(f"test/{name}"))
        fraction = self.builder_config.options["test_fraction"]
        count = max(1, round(fraction * len(people))) if fraction else 0
        if count >= len(people):
            raise ValueError(f"{root} holds {len(people)} people, too few to hold {count} out")
        tested = set(people[:count])
        return {
            "train": [p for p in found if p.person not in tested],
            "test": [p for p in found if p.person in tested],
        }


class CasiaWebface(IdentityFolder):
    """CASIA-WebFace: 10,575 people for training; poses from the options `yaws` or `landmarks`."""

    VERSION = tfds.core.Version("1.1.0")
    FOLDER = "CASIA-WebFace"
    LAYOUT = "  CASIA-WebFace/PERSON/NNN.jpg"
    OPTIONS = {**recognition_builder.OPTIONS, "test_fraction": 0.0}  # noqa: RUF012


def _check_people(root, found):
    of_split = {split: {p.person for p in listed} for split, listed in found.items()}
    for one, other in itertools.combinations(of_split, 2):
        both = of_split[one] & of_split[other]
        if both:
            raise ValueError(
                f"{root}: {min(both)!r} is in {one}/ and in {other}/; a person must be in one"
            )
