"""What readers of rendered sets need without starting the renderer."""

# Raised whenever the same numbers would give other pictures.
VERSION = "1.4.0"
# Part of a pixel, by its number in masks.
PARTS = (
    "background", "skin", "brow", "eye", "nose", "upper_lip", "lower_lip", "mouth", "ear", "neck",
    "hair", "cloth", "glasses",
)  # fmt: skip
