"""Fair timing: every contestant in its own process, one run each a round, in turn.

A busy minute of the machine then hits all alike, no library's threads or allocator disturb
another, and ratios are taken round by round.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

RECORDS = Path(__file__).parents[1] / "docs" / "results" / "speed.jsonl"


def interleaved(
    contestants: dict[str, tuple[Callable, dict]], *, rounds: int, warmup: int = 3
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round.

    Args:
        contestants: name -> (factory, keyword arguments). The factory runs in the new process
            and returns a function that returns when its work is done. It must be importable.
        rounds: timed rounds.
        warmup: untimed rounds before them, for compilation and caches.

    Returns:
        name -> [rounds] seconds.

    Raises:
        RuntimeError: a contestant has ended.
    """
    # On a GPU all contestants live at the same time: JAX must not take the memory in advance.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, (factory, options) in contestants.items():
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, factory, options), daemon=True)
        process.start()
        there.close()  # so that the end of the process is the end of the pipe
        workers[name] = (process, here)
    for name, (_, pipe) in workers.items():
        _receive(pipe, name)  # made: imports take a while and disturb nobody
    for name, (_, pipe) in workers.items():
        pipe.send("run")
        _receive(pipe, name)  # no two contestants compile, or try out algorithms, at once
    seconds = {name: [] for name in contestants}
    for turn in range(warmup + rounds):
        for name, (_, pipe) in workers.items():
            time.sleep(0.02)  # the threads of the one before may still be spinning
            pipe.send("run")
            took = _receive(pipe, name)
            if turn >= warmup:
                seconds[name].append(took)
    for process, _ in workers.values():
        process.kill()
    return seconds


def _receive(pipe, name):
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError(f"{name} has ended; its error stands above") from None


def restrict(cores: int) -> None:
    """Lets this process run on the first `cores` cores only; 0 for all."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def use_torch():
    """PyTorch, whose new tensors lie on the GPU if there is one.

    Returns:
        The module, and where images go that come from NumPy. On a CPU denormal numbers count as 0,
        as for XLA. On a GPU, matrix units may round float32 factors to TF32, as XLA lets them, and
        cuDNN tries its algorithms out.
    """
    import torch

    # As XLA does; PyTorch's threads, which start later, take it over. The toy batch of LaplaceKL is
    # learned so well that its softmax has denormal values, and the step takes twice as long.
    torch.set_flush_denormal(True)
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return torch, torch.get_default_device()


def gpu_name() -> str:
    """The GPU that both sides use, as its maker names it; "" if there is none, or no PyTorch."""
    try:
        import torch
    except ImportError:
        return ""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def compile_networks(holder) -> None:
    """Lets torch.compile have every torch.nn.Module that `holder` is, or has as an attribute."""
    import torch

    held = [holder] if isinstance(holder, torch.nn.Module) else vars(holder).values()
    for network in held:
        if isinstance(network, torch.nn.Module):
            network.compile()


def torch_variants(
    factory: Callable, options: dict, *, compiled: bool = False
) -> dict[str, tuple[Callable, dict]]:
    """PyTorch in both layouts, each with its own memory settings and with jaxgen's.

    On a GPU there are no memory settings of the host to compare.

    Args:
        factory: takes channels_last, keep_freed and compiled besides the options.
        options: keyword arguments of all.
        compiled: also run the networks as torch.compile makes them, with jaxgen's memory settings.

    Returns:
        Contestants for `interleaved`.
    """
    settings = [(kept, False) for kept in ((False,) if gpu_name() else (False, True))]
    if compiled:
        settings.append((not gpu_name(), True))
    return {
        f"pytorch {layout}{' keep_freed' * kept}{' compiled' * fused}": (
            factory,
            options
            | dict(channels_last=layout == "channels_last", keep_freed=kept, compiled=fused),
        )
        for layout in ("nchw", "channels_last")
        for kept, fused in settings
    }


def _work(pipe, factory, options):
    run = factory(**options)
    pipe.send("made")
    pipe.recv()
    run()
    _finish()
    pipe.send("ready")
    while True:
        pipe.recv()
        run()  # brings back into the caches what others have pushed out
        _finish()
        start = time.perf_counter()
        run()
        _finish()
        pipe.send(time.perf_counter() - start)


def _finish():
    """Waits for what PyTorch has sent to a GPU; jaxgen's side waits by itself."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratio(seconds: dict[str, list[float]], ours: str) -> tuple[float, str]:
    """Speed of `ours` over the fastest of the others, and which that is.

    Returns:
        The median over the rounds of their seconds / our seconds: above 1, ours is faster.
    """
    fastest = min(set(seconds) - {ours}, key=lambda name: statistics.median(seconds[name]))
    pairs = zip(seconds[fastest], seconds[ours], strict=True)
    return statistics.median(peer / own for peer, own in pairs), fastest


def report(title: str, seconds: dict[str, list[float]], *, ours: str, items: int) -> float:
    """Prints medians, quartiles and items per second, fastest first, and returns the ratio."""
    print(title)
    for name, times in sorted(seconds.items(), key=lambda pair: statistics.median(pair[1])):
        low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else 3 * times
        print(
            f"  {name:38s} {1e3 * middle:8.2f} ms ({1e3 * low:.2f} - {1e3 * high:.2f})"
            f" {items / middle:9.1f} images/s"
        )
    value, fastest = ratio(seconds, ours)
    print(f"  {ours} is {value:.2f} times as fast as {fastest}\n", flush=True)
    return value


def records(study: str, name: str, variant: str, seconds, *, ours: str, items: int) -> list[dict]:
    """One record for each contestant's images per second and one for the ratio.

    Args:
        study: the benchmark.
        name: of the step or kernel.
        variant: batch, size and setting.
        seconds: name -> seconds per round; the method is its first word.
        ours: our name in `seconds`.
        items: images a run.
    """
    device = gpu_name()

    def entry(method, detail, metric, value):
        facts = dict(method=method, variant=",".join(filter(None, (variant, device, detail))))
        rounds = len(seconds[ours])
        return record(study, name, **facts, rounds=rounds, metric=metric, value=value)

    rows = []
    for contestant, times in seconds.items():
        method, _, detail = contestant.partition(" ")
        rate = items / statistics.median(times)
        rows.append(entry(method, detail, "images_per_second", rate))
    value, fastest = ratio(seconds, ours)
    rows.append(entry(ours, f"over {fastest}", "ratio", value))
    return rows


def record(study: str, name: str, *, method, variant, rounds, metric, value) -> dict:
    """One line of docs/results/speed.jsonl; the command is that of this process.

    The variant gets the installed versions, on which speed hangs as much as on the code.
    """
    return {
        "study": study,
        "dataset": name,
        "split": "",
        "method": method,
        "variant": ",".join(filter(None, (variant, versions()))),
        "seed": 0,
        "steps": rounds,
        "metric": metric,
        "value": round(value, 4),
        "command": " ".join(["python", "-m", f"benchmarks.{study}", *sys.argv[1:]]),
    }


def versions() -> str:
    """As "jax=0.11.2,torch=2.13.0": what is installed of both."""
    found = {item.name.lower(): item.version for item in metadata.distributions() if item.name}
    return ",".join(f"{name}={found[name]}" for name in ("jax", "torch") if name in found)


def append(rows: list[dict], path: Path = RECORDS) -> None:
    """Adds one JSON line a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
