"""The futures of requests, and those among them that wait to be told their answers."""

import concurrent.futures
import contextlib
import functools
import os
import threading

from . import _engine
from .errors import NeuronError


class RequestFuture(concurrent.futures.Future):
    """The answer of a request to come. Wait for it with ``result()``, or on asyncio through ``async_forward``.

    In a forked child, which has no part in the request, it raises RuntimeError (``core_unavailable``).
    """

    def __init__(self):
        super().__init__()
        self._taking_back = threading.Lock()
        self._taken_back = False

    def result(self, timeout=None):
        """As of any future. ValueError (``invalid_argument``) in a callback of another one: it would wait for ever."""
        self._refuse_endless_wait()
        return super().result(timeout)

    def exception(self, timeout=None):
        """As of any future, and refused where :meth:`result` is."""
        self._refuse_endless_wait()
        return super().exception(timeout)

    def _refuse_endless_wait(self):
        if not self.done():
            _engine.refuse_wait_for_future()

    def add_done_callback(self, fn):
        """As of any future. ``fn`` must not block: no other future is told its answer while it runs."""
        super().add_done_callback(functools.partial(_call_back, fn))

    def cancel(self):
        """Gives the request up, unless its answer is there: rows that are not begun are dropped.

        Who waits is told at once.
        """
        if not super().cancel():  # calls back, and whoever is called may cancel again
            return False
        with self._taking_back:
            told, self._taken_back = self._taken_back, True
        if not told:
            self.set_running_or_notify_cancel()
            self._request.cancel()
        return True

    def _finish(self, value, exception):
        """Called once, by the engine's Python side. A future that was cancelled meanwhile stays so."""
        try:
            _engine.say_what_was_logged(self._place, self._whose())
            value = self._restore(value) if exception is None else None
        except Exception as e:
            exception = e
        try:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                if exception is not None:
                    self.set_exception(exception)
                else:
                    self.set_result(value)
        finally:
            _waiting.discard(self)

    def _lose(self, error):
        """In a forked child: nobody will call ``_finish``. The parent's callbacks are not for here."""
        super().__init__()  # a thread that is not here may have had the old locks
        self._taking_back = threading.Lock()
        if self._taken_back:
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(error)


def _call_back(fn, future):
    """What the base class logs is an Exception; another one would keep the rest from being called."""
    try:
        fn(future)
    except BaseException as e:
        if isinstance(e, Exception) or not _engine.tells_futures():
            raise
        raise RuntimeError(f"a callback of a future raised {type(e).__name__}, which ends nothing here") from e


#: The futures that are to be told their answers.
_waiting: "set[RequestFuture]" = set()


def _lose_all():
    lost = tuple(_waiting)
    _waiting.clear()
    for future in lost:
        try:
            _engine.require_usable()
        except NeuronError as e:
            future._lose(e)


os.register_at_fork(after_in_child=_lose_all)
