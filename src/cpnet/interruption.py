"""What ends a run from outside: signals, and the exit codes that shells and schedulers know."""

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
    """A run ends because of a signal, with exit code 128 + its number: 130 for SIGINT, 143 for SIGTERM.

    Attributes:
        number: of the signal
        agreed: whether all processes of the run end so, though only one may have got the signal
    """

    def __init__(self, number: int, *, agreed: bool = False) -> None:
        super().__init__(128 + number)
        self.number, self.agreed = number, agreed


class Signals:
    """Turns SIGTERM, SIGINT and those named into ``Interrupted``, while it is entered.

    After ``defer`` the first one is only noted in ``received``, and whoever defers raises when the step is done. The
    second one stops the process at once, even in the middle of a computation.

    Args:
        others: further signals, such as the one by which a scheduler asks a job to make room
    """

    def __init__(self, *others: signal.Signals) -> None:
        self.numbers = (signal.SIGTERM, signal.SIGINT, *others)
        self.received: int | None = None
        self.deferring = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._before = {number: signal.getsignal(number) for number in self.numbers}
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """Only note the first signal from now on, also where others have taken the signals, as Lightning does."""
        self.deferring = True
        if self._before and self.received is None:
            self._take()

    @contextmanager
    def outlasting(self) -> Iterator[None]:
        """Raise the ``Interrupted`` itself where what it broke off failed at tidying up, as Lightning's loops may.

        Raises:
            Interrupted: an error has come in the course of it
        """
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, Interrupted):
                cause = cause.__context__
            if cause is None:
                raise
            raise cause from None

    def _take(self) -> None:
        for number in self.numbers:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that reads data: its parent ends it when it needs no more
            return
        for each in self.numbers:
            signal.signal(each, signal.SIG_DFL)
        if self.received is not None:  # Lightning gives back the handlers that it found
            os.kill(os.getpid(), number)
        self.received = number
        if not self.deferring:
            raise Interrupted(number)
        name = signal.Signals(number).name
        log.warning(
            "%s: this step will be finished, then a checkpoint written; a second signal stops at once, without", name
        )
