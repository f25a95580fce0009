"""How a process joins the others of a run, notices that one is lost, and leaves.

`jax.distributed` does the work; here are its settings, and one message where it would end the
process with a stack trace.
"""

import itertools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.training import mesh
from jaxgen.training.errors import ConfigError, HostLost
from jaxgen.training.hosts import PATIENCE_MS, count, index, wait_for_all

# A process that is silent for so long is dead to the others, and they end. Its collectives may
# fail earlier.
HEARTBEAT_SECONDS = 30
# How errors of JAX's runtime read when the other side is gone.
_SIGNS_OF_LOSS = (
    "Gloo",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "ABORTED",
    "CANCELLED",
    "heartbeat",
    "barrier",
)
_ending = threading.Event()  # this process has done its part
_watch: list[threading.Thread] = []  # none or one
_log = logging.getLogger(__name__)


def join(
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Joins the other processes of the run; before anything else asks JAX for its devices.

    What is not given comes from the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, and without those from what JAX detects by itself: Cloud TPU (GCE, GKE), Slurm,
    Open MPI, and Kubernetes if the package `kubernetes` is installed.

    Args:
        coordinator: HOST:PORT of process 0, where the others reach it.
        num_processes: of the whole run.
        process_id: of this process, from 0.
        timeout: seconds until the others must be there.

    Raises:
        ConfigError: the numbers make no sense, or nothing was detected. When the others do not
            come, the process ends with a message and code 2.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    num_processes = _number(num_processes, "num_processes", "JAX_NUM_PROCESSES")
    process_id = _number(process_id, "process_id", "JAX_PROCESS_ID")
    if coordinator and not coordinator.rpartition(":")[2].isdigit():
        raise ConfigError(f"--coordinator={coordinator} is not of the form HOST:PORT")
    if None not in (num_processes, process_id) and not 0 <= process_id < num_processes:
        raise ConfigError(
            f"--process_id={process_id} is not one of 0 to {num_processes - 1} "
            f"(--num_processes={num_processes})"
        )
    complete = bool(coordinator) and None not in (num_processes, process_id)
    # JAX itself would end the process with a stack trace when its time is over.
    late = threading.Timer(timeout, _give_up, args=(coordinator, num_processes, process_id))
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator or None,
            num_processes,
            process_id,
            # JAX's detection would still look for GPUs to give away.
            cluster_detection_method="deactivate" if complete else None,
            initialization_timeout=timeout + 60,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"--distributed found no complete TPU pod, Slurm, Open MPI or Kubernetes job "
            f"({' '.join(str(error).split())}). "
            "Say who takes part: --coordinator=HOST:PORT --num_processes=N --process_id=I (or "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID)."
        ) from error
    finally:
        late.cancel()
    _log.info("process %d of %d on %s", index(), count(), socket.gethostname())
    if count() > 1:
        from orbax.checkpoint import multihost

        wait = multihost.get_barrier_sync_fn()
        _watch.append(threading.Thread(target=_speak_when_lost, args=(wait, index()), daemon=True))
        _watch[0].start()
        _connect()


def _give_up(coordinator, num_processes, process_id) -> NoReturn:
    who = "this process" if process_id is None else f"process {process_id} of {num_processes}"
    print(
        f"error: {who} did not meet the others in time{f' at {coordinator}' * bool(coordinator)}. "
        "Start all processes within a few minutes, with the same --coordinator and "
        "--num_processes, and see that process 0 can be reached there.",
        file=sys.stderr,
    )
    leave(2)


def _speak_when_lost(wait: Callable, own: int) -> None:
    """Waits at a barrier that no other process comes to: it breaks when one of them is lost.

    JAX's runtime would end this process a moment later by itself, with a stack trace.
    """
    for number in itertools.count():
        try:
            wait(key=f"jaxgen/watch_{own}/{number}", timeout_ms=PATIENCE_MS)
        except jax.errors.JaxRuntimeError as error:
            if _ending.is_set():
                return
            if "DEADLINE_EXCEEDED" not in str(error):
                print(f"error: {_lost(error)}", file=sys.stderr)
                leave(1)


def _lost(error: Exception) -> str:
    return (
        f"process {index()} of {count()} has lost another process of the run: see the logs of the "
        "others for the cause, then start all of them again with the same --workdir; training "
        f"goes on from its last checkpoint. (JAX: {' '.join(str(error).split())[:200]})"
    )


def _connect() -> None:
    """Lets all devices meet once, while all processes are here.

    Processes on CPU connect at their first collective, and give up if one comes half a minute
    later than another. Later, none waits for too long: one may compile or read as long as it likes.
    """
    wait_for_all("start of the run")
    multihost_utils.process_allgather(np.int32(index()))  # device by device
    every = mesh.data_mesh()
    ones = mesh.put_batch(every, np.ones(jax.local_device_count(), np.int32))
    total = jax.jit(jnp.sum, out_shardings=mesh.replicated(every))(ones)
    if int(total) != jax.device_count():
        raise HostLost(f"{int(total)} of {jax.device_count()} devices answered")


def _number(value: int | None, flag: str, variable: str) -> int | None:
    text = os.environ.get(variable, "")
    if value is not None or not text:
        return value
    if not text.isdigit():
        raise ConfigError(f"{variable}={text} is not a number: it stands for --{flag}")
    return int(text)


@contextmanager
def naming_lost_hosts() -> Iterator[None]:
    """Turns what JAX's runtime says when another process is gone into one message.

    Raises:
        HostLost: in place of the runtime's error.
    """
    try:
        yield
    except Exception as error:
        if not is_loss(error):
            raise
        raise HostLost(_lost(error)) from error


def is_loss(error: BaseException) -> bool:
    """Whether an error is what JAX's runtime says when another process is gone."""
    runtime = isinstance(error, jax.errors.JaxRuntimeError | TimeoutError)
    return count() > 1 and runtime and any(sign in str(error) for sign in _SIGNS_OF_LOSS)


def finish() -> None:
    """Waits until all processes are done, and parts from them in good order."""
    if count() == 1:
        return
    wait_for_all("end of the run")
    _ending.set()
    jax.distributed.shutdown()
    _watch.pop().join(60)  # Python must not end while a thread waits inside of JAX


def leave(code: int) -> NoReturn:
    """Ends this process of several at once: the others would wait for it in vain."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: JAX would wait there for all processes to say goodbye.
    os._exit(code)
