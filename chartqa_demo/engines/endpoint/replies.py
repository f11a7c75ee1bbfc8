"""What a server that speaks OpenAI's chat completions sends back: pieces of an answer, and refusals, as a sentence."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from typing import Any

import openai

from chartqa_demo.errors import shown, whole

RETRIED = (429, 502, 503)  # too many requests, and a gateway whose server is starting
LONGEST_WAIT_S = 8.0  # a server that asks for more is not asked again: nobody watches an empty card for so long
# OpenAI, Azure, FastAPI with `extra="forbid"`, and gateways, about a parameter that they do not take
UNKNOWN = ("unsupported", "not supported", "unrecognized", "unknown", "unexpected", "not permitted", "not allowed")
MAX_REPLY = 16 * 2**20  # bytes; 32,768 tokens in half a KB each. The client holds a line without end in memory
MOST_TOKENS = 2**31  # of an answer, whatever a server counts
HUB_HOSTS = (".huggingface.co", ".huggingface.cloud", ".hf.space")


async def mark_repeats(response: Any) -> None:
    """Tell the client which refusals to repeat, by the header that it obeys (openai 3.54, `_should_retry`): left alone
    it also repeats what failed for good (500), and waits for up to two minutes when the server says so."""
    if response.status_code >= 400:
        again = response.status_code in RETRIED and (_wait(response) or 0) <= LONGEST_WAIT_S
        response.headers["x-should-retry"] = str(again).lower()
        response.headers.pop("retry-after-ms", None)  # which the client would rather obey


async def bound(response: Any) -> None:
    """Let a reply have so many bytes, unpacked, and no more."""
    unbounded = response.aiter_bytes

    async def aiter_bytes(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        read = 0
        async for piece in unbounded(chunk_size):
            read += len(piece)
            if read > MAX_REPLY:
                raise Unreadable
            yield piece

    response.aiter_bytes = aiter_bytes


class Unreadable(Exception):
    """A piece of the stream is no chat completion."""


class CutOff(Exception):
    """The stream ended before the answer did."""


async def readable(stream: Any) -> AsyncIterator[Any]:
    """The chunks; what is no JSON raises Unreadable."""
    try:
        async for chunk in stream:
            yield chunk
    except (ValueError, TypeError, AttributeError) as error:
        raise Unreadable from error


def read(chunk: Any) -> tuple[str, str | None, int | None]:
    """Text, reason of the end, number of tokens; the last is known in the last chunk. Raises Unreadable."""
    try:
        usage = chunk.usage.completion_tokens if chunk.usage else None
        if type(usage) is not int or not 0 <= usage <= MOST_TOKENS:  # the client (openai 3.54) checks no value
            usage = None
        if not chunk.choices:  # the chunk that only carries the usage
            if chunk.usage is None and chunk.choices is None:
                raise Unreadable
            return "", None, usage
        return _text(chunk.choices[0].delta.content), chunk.choices[0].finish_reason, usage
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise Unreadable from error


def _text(content: Any) -> str:
    """Of a piece of an answer: a text, or a list of parts of which those of type `text` are shown."""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") in (None, "text"))
    return whole(content or "")


def failure(error: Exception, host: str, model: str, timeout_s: float, begun: bool) -> tuple[str, str]:
    """One word for the operator's metrics and one sentence for the visitor; `begun`: there is text already."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    if isinstance(error, asyncio.TimeoutError):
        kind, text = "timeout", f"did not finish within {timeout_s:g} seconds. Ask again, or for a shorter answer."
    elif isinstance(error, CutOff) or (isinstance(error, openai.APIConnectionError) and begun):
        kind, text = "cut_off", "broke off in the middle of the answer. Ask again."
    elif isinstance(error, openai.APIConnectionError):
        kind, text = "unreachable", "cannot be reached. Check that the server runs and that --endpoint is right."
    elif isinstance(error, Unreadable | openai.APIResponseValidationError):
        kind = "unreadable"
        text = "sent something that is no chat completion. Check --endpoint; it usually ends in /v1."
    elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        kind, text = "key", f"refused the key ({status}). Set {key_variable(host)} to one that may use {model}."
    elif isinstance(error, openai.RateLimitError):
        kind, text = "busy", f"is busy ({status}). Ask again in {_wait(error.response) or 60:.0f} seconds."
    elif status in RETRIED:
        kind, text = "starting", f"is not ready ({status}). Its model may still be loading; ask again in a minute."
    elif isinstance(error, openai.NotFoundError):
        kind, text = "model", f"has no model {model!r} at this address ({status}){said(error)}"
    elif status is not None and status < 400:
        kind, text = "moved", f"sends questions elsewhere ({status}), where none is taken. Correct --endpoint."
    elif status is not None and status < 500:
        kind, text = "refused", f"refused this question for the model {model!r} ({status}){said(error)}"
    else:
        kind, text = "server", f"failed on this question ({status or 'while answering'}){said(error)}"
    return kind, f"The server at {host} {text}"


def reason(error: Exception) -> str:
    """All that the server says about it, without the keys that it was sent; "" for nothing."""
    text = "; ".join(_reasons(getattr(error, "body", None))).strip()
    for key in filter(None, map(os.environ.get, ("HF_TOKEN", "OPENAI_API_KEY"))):
        text = text.replace(key, "…")
    return text


def said(error: Exception) -> str:
    """What the server says about it, at most 200 characters of one line, as the end of a sentence."""
    text = reason(error)
    return f": {shown(text.splitlines()[0][:200])}" if text else "."


def _reasons(body: Any) -> list[str]:
    """The sentences of a refusal: OpenAI's `message`, or FastAPI's `detail`, a text or a list of what is wrong where
    (https://fastapi.tiangolo.com/tutorial/handling-errors)."""
    if isinstance(body, str):
        return [body] if body.strip() else []
    if isinstance(body, list):
        return [one for part in body for one in _reasons(part)]
    if not isinstance(body, dict):
        return []
    if isinstance(body.get("msg"), str):
        where = body["loc"] if isinstance(body.get("loc"), list) else []
        place = ".".join(str(part) for part in where if part != "body")
        return [f"{place}: {body['msg']}" if place else body["msg"]]
    return next((found for key in ("message", "detail", "error") if (found := _reasons(body.get(key)))), [])


def refuses(text: str, name: str) -> bool:
    """Whether a server that says this does not know the parameter `name`, and would answer without it."""
    return name in text and any(word in text.lower() for word in UNKNOWN)


def _wait(response: Any) -> float | None:
    """Seconds that the server asks to wait, None where it names none (or a date, which nobody uses here)."""
    try:
        seconds = float(response.headers["retry-after"])
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except (KeyError, ValueError):
        return None


def key_variable(host: str) -> str:
    """The name of the environment variable with the key for this host."""
    return "HF_TOKEN" if f".{host.partition(':')[0]}".endswith(HUB_HOSTS) else "OPENAI_API_KEY"
