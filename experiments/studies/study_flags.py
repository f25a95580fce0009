"""Flags of every study of many runs."""

from absl import flags

ONLY = flags.DEFINE_string("only", "", "Run only jobs whose study/name holds this.")
WORKDIRS = flags.DEFINE_string("workdirs", "runs/studies", "Folder of all runs.")
