"""A question to a server, repeated until it is answered, refused or given up."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from bfpo_bench.client.http import (
    Answer,
    Broken,
    Connection,
    backoff,
    retry_after,
    worth_another_try,
)
from bfpo_bench.client.server import Server
from bfpo_bench.common.errors import BadInput, RunFailed

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_WAIT = 900.0
"""Seconds of `Retry-After` that are waited for; a server that asks for more is out of quota."""

QUIET_ATTEMPTS = 3
"""Failed attempts at one request that only the log's details mention."""

MESSAGE_LENGTH = 300


class Malformed(Exception):
    """An answer that is not what the protocol promises: half of it, or something else."""


class Refused(BadInput):
    """The server understood and said no (4xx); asking again would change nothing.

    Attributes:
        status: HTTP status.
        code: the server's own error code, "" where it gives none.
        message: its message: one line, cut to a length.
    """

    def __init__(self, sentence: str, status: int, code: str, message: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.message = message

    @property
    def said(self) -> str:
        """Its status, and its message where it gives one."""
        return f"HTTP {self.status}" + (f": {self.message}" if self.message else "")


class GaveUp(RunFailed):
    """No usable answer after all attempts.

    Attributes:
        status: HTTP status of the last attempt, None where it brought none.
        reason: what was wrong with it, one line.
    """

    def __init__(self, sentence: str, status: int | None, reason: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


class Caller:
    """Asks one server, one question at a time, over a connection of its own.

    Args:
        stop: set by another thread (which then calls :meth:`abort`) to end all waiting.
    """

    def __init__(self, server: Server, stop: threading.Event | None = None) -> None:
        self.server = server
        self._stop = stop or threading.Event()
        self._connection = Connection(server)

    def get(self, path: str, read: Callable[[Any], T], tries: int | None = None) -> T:
        """Reads ``<base_url>/<path>``; see :meth:`post`."""
        return self._ask("GET", path, None, read, tries)

    def post(
        self, path: str, body: dict[str, Any], read: Callable[[Any], T], tries: int | None = None
    ) -> T:
        """Sends `body` to ``<base_url>/<path>``.

        Args:
            read: makes the result of the decoded answer. Where it raises :class:`Malformed`, the
                question is asked again.
            tries: attempts; None: the server's number.

        Raises:
            Refused: the server says no.
            GaveUp: no usable answer came in so many attempts.
        """
        return self._ask("POST", path, json.dumps(body).encode("ascii"), read, tries)

    def abort(self) -> None:
        """Ends the question under way, from another thread."""
        self._connection.abort()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        read: Callable[[Any], T],
        tries: int | None,
    ) -> T:
        tries = tries or self.server.tries
        for attempt in range(1, tries + 1):
            status, wait = None, None
            try:
                answer = self._connection.exchange(method, path, body)
                status = answer.status
                if status == 200:
                    return read(_decoded(answer))
                reason, wait = self._not_ok(answer, path)
            except Malformed as error:
                reason = f"an unusable answer: {_clean(str(error))}"
            except Broken as error:
                reason = error.reason
                if error.hopeless:
                    raise self._gave_up(path, status, reason, "cannot be asked") from None
            if self.server.gone is not None and (why := self.server.gone()):
                raise GaveUp(why, status, reason)
            if attempt < tries:
                pause = backoff(attempt, self.server.first_delay, self.server.longest_delay)
                # Never sooner than the server asks, nor all the sooner for being asked often.
                self._pause(path, reason, attempt, tries, max(pause, wait or 0.0))
            # Whoever set it is about to abort the connection: nothing may be asked before that.
            if self._stop.is_set():
                break
        times = "once" if tries == 1 else f"{tries} times"
        raise self._gave_up(path, status, reason, f"was asked {times} without a usable answer")

    def _gave_up(self, path: str, status: int | None, reason: str, what: str) -> GaveUp:
        url = f"{self.server.base_url}/{path}"
        return GaveUp(
            f"{url} {what} (last: {reason}); check the server, then run the same command again "
            "to go on.",
            status,
            reason,
        )

    def _pause(self, path: str, reason: str, attempt: int, tries: int, seconds: float) -> None:
        level = logging.DEBUG if attempt < QUIET_ATTEMPTS else logging.WARNING
        url = f"{self.server.base_url}/{path}"
        text = "%s: %s; attempt %d of %d in %.1f s"
        log.log(level, text, url, reason, attempt + 1, tries, seconds)
        self._stop.wait(seconds)

    def _not_ok(self, answer: Answer, path: str) -> tuple[str, float | None]:
        """What a status other than 200 says, and how long the server asks to wait.

        Raises:
            Refused, GaveUp: there is no point in asking again.
        """
        status = answer.status
        code, message = _complaint(answer)
        reason = f"HTTP {status}" + (f": {message}" if message else "")
        url = f"{self.server.base_url}/{path}"
        if worth_another_try(status):
            wait = retry_after(answer.headers)
            if code == "insufficient_quota":
                raise self._gave_up(path, status, reason, "has no quota left for this key")
            if wait is not None and wait > LONGEST_WAIT:
                raise self._gave_up(path, status, reason, f"asks to wait {wait:,.7g} s")
            return reason, wait
        if 300 <= status < 400:
            target = _clean(answer.headers.get("location", "elsewhere"))
            raise Refused(
                f"{url} sends on to {target} (HTTP {status}); give the server's own address with "
                "--base-url.",
                *(status, code, message),
            )
        if 200 <= status < 300:
            raise Malformed(f"HTTP {status} where 200 was due")
        raise Refused(f"{url} refused the request ({reason}){_hint(status)}", status, code, message)


def _complaint(answer: Answer) -> tuple[str, str]:
    """Code and message of an error answer, in any of the forms that servers give them."""
    text = answer.body[:20_000].decode("utf-8", "replace")
    code = ""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        # OpenAI: {"error": {"message", "code"}}; older vLLM: the same without the wrapper;
        # FastAPI: {"detail": …}; some: {"error": "text"}.
        inner = content.get("error", content)
        if isinstance(inner, dict):
            code = str(inner.get("code") or inner.get("type") or "")
            inner = inner.get("message") or inner.get("detail") or inner
        text = inner if isinstance(inner, str) else json.dumps(inner)
    return _clean(code)[:60], _clean(text)


def _clean(text: str) -> str:
    """A server's text as one short printable line."""
    line = " ".join(text.split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= MESSAGE_LENGTH else line[:MESSAGE_LENGTH] + "…"


def _decoded(answer: Answer) -> Any:
    try:
        content = _json(answer.body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON ({type(error).__name__}, {len(answer.body)} bytes)") from None
    if isinstance(content, dict) and content.get("error") and "choices" not in content:
        # Gateways pass a failure behind them on with status 200.
        raise Malformed(f"an error with status 200: {json.dumps(content['error'])}")
    return content


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # A number of more digits than Python reads; what is absurd about it, its reader finds.
        return json.loads(body, parse_int=float)


def _hint(status: int) -> str:
    if status in (401, 403):
        return "; set the server's key in the environment (OPENAI_API_KEY, or --api-key-env NAME)."
    if status == 404:
        return "; check --model and --base-url, which usually ends in /v1."
    return "."
