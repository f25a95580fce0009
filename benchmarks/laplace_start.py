"""Seconds from process start to the first finished training step of the default config.

    python -m benchmarks.laplace_start [--rounds=3] [--record]

Cold: an empty compilation cache. Warm: the cache of the run before. The data set is prepared
beforehand and not counted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from experiments.studies import records

MARK = "first step after"  # what the training loop logs when the first step is done


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as workdir:
        seconds_to_first_step(workdir, cache=f"{workdir}/unused")  # prepares the data set
    seconds = {"cold": [], "warm": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for state in seconds:
                with tempfile.TemporaryDirectory() as workdir:
                    seconds[state].append(seconds_to_first_step(workdir, cache))
    for state, values in seconds.items():
        print(f"{state}: median {statistics.median(values):.1f} s of {sorted(values)}")
        if arguments.record:
            facts = dict(study="laplace_start", dataset="time_to_first_step", split="")
            facts |= dict(
                method="jaxgen", variant=f"default config, {state} cache", seed=0, steps=1
            )
            command = "python -m benchmarks.laplace_start --record"
            value = statistics.median(values)
            records.append("speed", [facts | dict(metric="seconds", value=value, command=command)])


def seconds_to_first_step(workdir, cache):
    """Starts the training command and stops it after its first step."""
    command = [sys.executable, "-m", "experiments.laplace", f"--workdir={workdir}"]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
        bufsize=0,
    )
    seen = b""
    try:
        while MARK.encode() not in seen:
            chunk = process.stderr.read(256)
            if not chunk:
                raise RuntimeError(f"{' '.join(command)} ended early:\n{seen.decode()}")
            seen += chunk
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
