"""Version of the rendered sets, raised whenever the same numbers would give other pictures."""

VERSION = "1.1.0"
