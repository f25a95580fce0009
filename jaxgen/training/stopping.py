"""Being asked to stop: SIGTERM from a scheduler, or Ctrl-C once.

The loop looks after each step, saves, and ends. Several processes must end after the same step:
JAX's preemption service passes the request of one on to all and agrees on the step.
"""

import logging
import os
import signal
import threading

from jax.experimental import multihost_utils

from jaxgen.training import hosts
from jaxgen.training.errors import Stopped

_log = logging.getLogger(__name__)


class StopRequest:
    """While entered, SIGTERM and the first Ctrl-C are remembered instead of ending the process.

    A second Ctrl-C ends it at once. Off the main thread Python cannot watch signals: nothing
    changes there.
    """

    def __init__(self):
        self._received: signal.Signals | None = None
        self._agreed = False
        self._handlers = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        # JAX's service watches SIGTERM itself where there are several processes.
        watched = [signal.SIGINT] if hosts.count() > 1 else [signal.SIGINT, signal.SIGTERM]
        # Who starts a process in the background lets it ignore Ctrl-C; it stays so.
        watched = [number for number in watched if signal.getsignal(number) != signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._receive) for number in watched}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; to be asked after every step, on every process."""
        if hosts.count() == 1:
            return self._received is not None
        self._agreed |= multihost_utils.reached_preemption_sync_point(step)
        return self._agreed

    def stopped(self, message: str) -> Stopped:
        """The exception to raise when all is saved."""
        name = self._received.name if self._received else "SIGTERM"
        code = 130 if self._received is signal.SIGINT else 0
        return Stopped(f"stopped by {name} {message}", exit_code=code)

    def _receive(self, number, _frame) -> None:
        self._received = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if hosts.count() > 1:
                os.kill(os.getpid(), signal.SIGTERM)  # which the service passes on
        _log.warning("%s: saving after this step", self._received.name)
