"""`uci_digits`: 1,797 real handwritten digits of 8 x 8 pixels, which scikit-learn brings along.

They are the test part of "Optical Recognition of Handwritten Digits" (UCI), written by 13 people:
bitmaps of 32 x 32 whose blocks of 4 x 4 are counted, hence 17 grey values, bright on black. The
writers are not told apart. A third is the split `test`, chosen by a hash of the number of the
digit, so the two parts are the same for everybody.
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import hashing
from jaxgen.data.builders import class_sets

TEST_SHARE = 1 / 3


class UciDigits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits of scikit-learn."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=class_sets.class_features(class_sets.DIGITS, channels=1),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        from sklearn import datasets

        digits = datasets.load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        for example in class_sets.stored_digits(pixels, digits.target, prefix="digit"):
            is_test = hashing.uniform(f"test/{example['name']}") < TEST_SHARE
            if is_test == (split == "test"):
                yield example["name"], example
