"""Interrupt a run on a signal, with the exit codes that shells and schedulers expect."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger(__name__)


class Interrupted(SystemExit):
    """A signal ended the run. The exit code is 128 + its number: 130 for SIGINT, 143 for SIGTERM.

    Attributes:
        number: number of the signal
        agreed: whether all ranks of the run stop for this signal, even if only one received it
    """

    def __init__(self, number: int, *, agreed: bool = False) -> None:
        super().__init__(128 + number)
        self.number, self.agreed = number, agreed


class Signals:
    """Context in which SIGTERM, SIGINT and the given signals raise ``Interrupted``.

    After ``defer`` the first signal only sets ``received``; the caller raises at the end of the step. A second signal
    ends the process at once, even in the middle of a computation.

    Args:
        others: further signals, such as the one that a scheduler sends before the time limit
    """

    def __init__(self, *others: signal.Signals) -> None:
        self.numbers = (signal.SIGTERM, signal.SIGINT, *others)
        self.received: int | None = None
        self.deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._before = {number: signal.getsignal(number) for number in self.numbers}
        self._set_handlers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """Record the first signal instead of raising. Restore the handlers if Lightning has replaced them."""
        self.deferring = True
        if self._before and self.received is None:
            self._set_handlers()

    @contextmanager
    def outlasting(self) -> Iterator[None]:
        """Raise ``Interrupted`` instead of an error of Lightning's loops while it passes through them."""
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, Interrupted):
                cause = cause.__context__
            if cause is None:
                raise
            raise cause from None

    def _set_handlers(self) -> None:
        for number in self.numbers:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        for each in self.numbers:
            signal.signal(each, signal.SIG_DFL)
        if self.received is not None:  # Lightning had restored this handler
            os.kill(os.getpid(), number)
        self.received = number
        if not self.deferring:
            raise Interrupted(number)
        name = signal.Signals(number).name
        log.warning("%s: finishing this step and writing a checkpoint; a second signal stops at once", name)
