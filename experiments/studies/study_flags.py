"""Flags of every study of many runs."""

import re

from absl import flags

ONLY = flags.DEFINE_string("only", "", "Run only jobs with this regular expression in study/name.")
WORKDIRS = flags.DEFINE_string("workdirs", "runs/studies", "Folder of all runs.")


def is_asked_for(study: str, name: str) -> bool:
    """Whether the flag --only leaves a job of a study in."""
    return bool(re.search(ONLY.value, f"{study}/{name}"))
