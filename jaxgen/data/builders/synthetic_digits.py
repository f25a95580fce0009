"""`synthetic_digits`: printed digits as on house numbers, in colour, 32 x 32 pixels, drawn here.

The labelled source domain of the built-in example; the target is `uci_digits`. Picture i of a
split depends on the seed, the split and i alone; every class is equally frequent. See
`jaxgen.data.synthetic.digits`.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders import class_sets


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticDigitsConfig(tfds.core.BuilderConfig):
    """Size and seed of a set.

    Attributes:
        seed: another seed gives other pictures.
        pictures: split -> number of pictures.
        light_on_dark: whether all digits are lighter than their ground.
    """

    seed: int = 0
    pictures: dict = dataclasses.field(default_factory=lambda: dict(train=10_000, test=2_000))
    light_on_dark: bool = False


class SyntheticDigits(tfds.core.GeneratorBasedBuilder):
    """Printed digits in colour."""

    # Raised whenever the same numbers would give other pictures.
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticDigitsConfig(name="default", description="12,000 pictures"),
        SyntheticDigitsConfig(
            name="large", description="the size of SVHN", pictures=dict(train=73_000, test=26_000)
        ),
        SyntheticDigitsConfig(
            name="light",
            description="12,000 pictures, all digits lighter than their ground",
            light_on_dark=True,
        ),
        SyntheticDigitsConfig(
            name="tiny", description="a few, for tests", pictures=dict(train=100, test=40)
        ),
    ]

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=class_sets.class_features(class_sets.DIGITS, channels=3),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in self.builder_config.pictures}

    def _generate_examples(self, split):
        from jaxgen.data.synthetic import digits

        config, glyphs = self.builder_config, digits.load_glyphs()
        number = sorted(config.pictures).index(split)
        for i in range(config.pictures[split]):
            rng = np.random.default_rng([config.seed, number, i])
            name, label = f"{split}/{i:06d}", i % 10
            pixels = digits.draw_digit(rng, glyphs, label, light_on_dark=config.light_on_dark)
            yield name, {"image": class_sets.png(pixels), "label": label, "name": name}
