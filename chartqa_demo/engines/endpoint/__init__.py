"""The three arms on a server elsewhere: a client of anything that speaks OpenAI's chat completions over HTTP.

vLLM serves a base and its LoRA as two model names, so the arms are three streamed requests at the same time, which
the server batches with those of other visitors. Requests live on one event loop in one thread, however many visitors
there are; cancelling one closes its connection at once, which is how such servers learn that nobody waits any more.
"""

import asyncio
import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image

from chartqa_demo.adapters.check import fetch_contract
from chartqa_demo.adapters.contract import Contract, arm_system, bounded, told
from chartqa_demo.arms import Arm, Message, arms_with, messages
from chartqa_demo.engines import BETWEEN, Answer, Answers, ByAdapter, Ended, Gazes, Options, said_again
from chartqa_demo.engines.endpoint.replies import (
    CutOff,
    Unreadable,
    bound,
    failure,
    key_variable,
    mark_repeats,
    read,
    readable,
    reason,
    refuses,
)
from chartqa_demo.errors import EngineError
from chartqa_demo.images import fit_canvas, shrink
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, DEFAULT_MAX_PIXELS, Settings

VISITORS = 64  # at the same time, each with three requests; more wait in the page's queue, where they see that they do
ITEMS = 16  # questions of an evaluation at the same time: enough to fill a batch, with room left for visitors
REQUEST_S = 120.0  # from sending to the last token, the server's own queue included
CONNECT_S = 4.0  # tried RETRIES times more, as a server may be just starting
HEARTBEAT_S = 1.0
RETRIES = 3
OF_ONE_ARM = ("no_adapter", "refused", "server", "unreadable", "cut_off")  # kinds of failures: the others may answer

PIECES = re.compile(r"\d|[^\W\d]+|\s+|[^\w\s]")  # of a text, about as large as tokens, which are not known here
LETTERS = 20  # of a token; few have more, and an answer has a thousand at least
EVERY_TOKEN = -1  # as top_k, for vLLM and those who follow it
NO_ADAPTER = "No adapter is named. Start the app with --adapter-name and the name by which the server serves the LoRA."


class EndpointEngine:
    """A base, and at most one adapter, as two model names of one server; implements `engines.Engine`.

    `settings.base` and `settings.adapter` say what the two names are made of, where that is known: the canvases of a
    base in a local folder and the contract of an adapter are read from there. Raises EngineError.
    """

    def __init__(self, settings: Settings, timeout_s: float = REQUEST_S) -> None:
        if settings.endpoint is None or settings.base_name is None:
            raise EngineError("An endpoint needs --endpoint URL and --base-name NAME.")
        self.host = urlsplit(settings.endpoint).netloc.rpartition("@")[2]
        self.title = f"{settings.base_name} on {self.host}"
        self.adapter = settings.adapter_name
        self.former: str | None = None
        self.bundled = settings.base == "bundled"
        self.parallel = VISITORS
        self._base_name, self._timeout_s = settings.base_name, timeout_s
        # What the server does not take is learnt from its first refusal
        self._folds_system, self._takes_top_k, self._limit = False, True, "max_tokens"
        self._canvases = _canvases(settings)
        contract = bounded(_contract(settings), settings.max_pixels or DEFAULT_MAX_PIXELS)
        self._max_pixels = settings.max_pixels or (contract and contract.max_pixels) or DEFAULT_MAX_PIXELS
        self.arms = arms_with(arm_system(contract, settings.adapter_system))
        self.notes = _notes(self.host, settings, contract)
        self._client = openai.AsyncOpenAI(
            base_url=settings.endpoint,
            api_key=_key(self.host) or "none",  # the client refuses an empty one; servers without keys ignore it
            max_retries=RETRIES,
            timeout=openai.Timeout(None, connect=CONNECT_S),  # the whole request has its limit in _ask_arm
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False,  # a chart goes where the operator sends it
                event_hooks={"response": [mark_repeats, bound]},
            ),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        """See `engines.Engine`. What goes wrong with an arm is that arm's `error`, with the text so far kept.

        `tokens` counts the pieces of text that came while an answer streams, and is the server's own count (the end
        token included) once it has ended; servers that send no usage leave the pieces.
        """
        began = time.perf_counter()
        url = self._data_url(image, options)
        latest = {arm.key: Answer(arm.key) for arm in arms}
        news: SimpleQueue[bool] = SimpleQueue()

        def tell(answer: Answer) -> None:
            latest[answer.arm] = answer
            news.put(True)

        request = self._start(self._ask(url, question, arms, options, began, tell))
        request.add_done_callback(lambda _: news.put(False))
        try:
            going = True
            while going:
                # A reader who left can only close this iterator between two items, so a silent server gets some too.
                with suppress(Empty):
                    going = news.get(timeout=HEARTBEAT_S)
                    while going and not news.empty():  # a slow reader skips to the newest state
                        going = news.get()
                if not going:
                    request.result()  # raises what no arm could turn into its sentence: a mistake of this file
                yield tuple(latest[arm.key] for arm in arms)
        finally:
            request.cancel()

    def answer_many(
        self, items: Sequence[tuple[Image.Image, str]], arms: Sequence[Arm], options: Options
    ) -> list[Answers]:
        """See `engines.Engine`. ITEMS questions at a time; a failure that is not one arm's own ends it all."""
        places = asyncio.Semaphore(ITEMS)

        async def one(image: Image.Image, question: str) -> Answers:
            async with places:
                url = await asyncio.to_thread(self._data_url, image, options)
                found: dict[str, Answer] = {}
                await self._ask(url, question, arms, options, time.perf_counter(), lambda a: found.update({a.arm: a}))
            for answer in found.values():
                if answer.error and answer.error_kind not in OF_ONE_ARM:
                    raise EngineError(answer.error)
            return tuple(found[arm.key] for arm in arms)

        async def every() -> list[Answers]:
            tasks = [asyncio.ensure_future(one(*item)) for item in items]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()

        questions = self._start(every())
        try:
            return questions.result()
        finally:
            questions.cancel()

    def prompt_text(self, arm: Arm, question: str, options: Options) -> str:
        """See `engines.Engine`. The template is the server's, so this is the last thing known on this side."""
        turns = self._turns(arm, question, options, "data:image/png;base64,…")
        sent = "\n".join(json.dumps(turn, ensure_ascii=False) for turn in turns)
        return f"Sent to {self.host}, which puts it into the model's own chat template:\n{sent}"

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        """Nothing: a server does not tell its model's attention."""
        return {}

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        """Nothing: no adapter is exchanged here."""
        return ()

    def use_adapter(self, name: str) -> None:
        """Always raises EngineError: which adapters there are is the server's business."""
        raise EngineError(
            f"{self.host} decides which adapters it serves. Start the server with {name} (vLLM: --lora-modules), then "
            "the app with --adapter-name."
        )

    def close(self) -> None:
        """Close every connection and end the thread. An engine of a running app is never closed."""
        if self._loop is not None:
            self._start(self._client.close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _start(self, work: Any) -> "Future[Any]":
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _data_url(self, image: Image.Image, options: Options) -> str:
        """The chart as the model should see it, as PNG: what local processing does before the processor, done here."""
        image = shrink(image, options.max_pixels) if options.max_pixels else image
        image = fit_canvas(image, self._canvases).image if self._canvases else shrink(image, self._max_pixels)
        image.save(file := BytesIO(), "PNG", compress_level=1)  # four times as fast as the default, a fifth larger
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")

    def _turns(self, arm: Arm, question: str, options: Options, url: str) -> list[Message]:
        """`arms.messages` as this protocol writes them: a system turn as plain text, the chart as a URL."""
        turns: list[Message] = []
        system = options.system if arm.key == "prompted" else None
        for turn in messages(arm, question, system, fold_system=self._folds_system):
            parts = [
                {"type": "image_url", "image_url": {"url": url}} if part["type"] == "image" else part
                for part in turn["content"]
            ]
            # not every server takes a list of parts for the system turn
            turns.append({"role": turn["role"], "content": parts[0]["text"] if turn["role"] == "system" else parts})
        return turns

    async def _ask(
        self,
        url: str,
        question: str,
        arms: Sequence[Arm],
        options: Options,
        began: float,
        tell: Callable[[Answer], None],
    ) -> None:
        await asyncio.gather(*(self._ask_arm(arm, url, question, options, began, tell) for arm in arms))

    async def _ask_arm(
        self, arm: Arm, url: str, question: str, options: Options, began: float, tell: Callable[[Answer], None]
    ) -> None:
        """Tell every state of one arm's answer; the last is `done`, with the sentence in `error` if it failed."""
        model = self.adapter if arm.adapter else self._base_name
        if model is None:
            tell(Answer(arm.key, done=True, error=NO_ADAPTER, error_kind="no_adapter"))
            return
        latest, longest = Answer(arm.key), LETTERS * (50 + options.max_new_tokens)

        def keep(answer: Answer) -> None:
            nonlocal latest
            tell(latest := answer)

        try:
            while True:
                request = self._request(model, arm, question, options, url)
                try:
                    await asyncio.wait_for(self._stream(request, longest, latest, began, keep), self._timeout_s)
                    return
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if not self._learns(reason(error), request):
                        raise
        except (openai.APIError, asyncio.TimeoutError, Unreadable, CutOff) as error:
            kind, sentence = failure(error, self.host, model, self._timeout_s, bool(latest.text))
            seconds = time.perf_counter() - began
            tell(replace(latest, total_s=seconds, done=True, error=sentence, error_kind=kind))

    def _request(self, model: str, arm: Arm, question: str, options: Options, url: str) -> dict[str, Any]:
        """What is sent, in the words that the server takes as far as they are known."""
        request = {
            "model": model,
            "messages": self._turns(arm, question, options, url),
            self._limit: options.max_new_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0 if options.greedy else options.temperature,
        }
        if not options.greedy:
            request["top_p"] = 1.0
            if self._takes_top_k:  # vLLM's own: left out, it takes the model's, which for Qwen2-VL is 1
                request["extra_body"] = {"top_k": EVERY_TOKEN}
            if options.seed is not None:
                request["seed"] = options.seed
        return request

    def _learns(self, text: str, request: dict[str, Any]) -> bool:
        """Whether the refusal `text` of this request says something by which the next one differs."""
        if "top_k" in text and "extra_body" in request:
            self._takes_top_k = False
        elif "max_tokens" in request and ("max_completion_tokens" in text or refuses(text, "max_tokens")):
            self._limit = "max_completion_tokens"
        elif request["messages"][0]["role"] == "system" and "system" in text.lower():
            self._folds_system = True  # Llama 3.2 Vision's template takes no system turn with a picture
        else:
            return False
        return True

    async def _stream(
        self, request: dict[str, Any], longest: int, answer: Answer, began: float, tell: Callable[[Answer], None]
    ) -> None:
        text, usage, chunks = "", None, 0
        ended: Ended | None = None
        async with await self._client.chat.completions.create(**request) as stream:
            async for chunk in readable(stream):
                chunks += 1
                piece, ending, counted = read(chunk)
                usage = counted or usage
                ended = ("limit" if ending == "length" else "end") if ending else ended
                if piece:
                    text += piece
                    if len(text) >= longest:  # of a server that goes on for more tokens than it was asked for
                        text, ended = text[:longest], "limit"
                    pieces = PIECES.findall(text)
                    if again := said_again(pieces):
                        text, ended = "".join(pieces[:-again]).strip(BETWEEN), "repetition"
                    first = answer.first_token_s or time.perf_counter() - began
                    answer = replace(answer, text=text.strip(), tokens=answer.tokens + 1, first_token_s=first)
                    tell(answer)
                if ended == "repetition" or len(text) == longest:
                    break  # closes the connection, and with it the generation
        if not chunks:
            raise Unreadable
        if ended is None:
            raise CutOff
        total, tokens = time.perf_counter() - began, answer.tokens if usage is None else usage
        tell(replace(answer, tokens=tokens, total_s=total, done=True, ended=ended))


def _key(host: str) -> str | None:
    """From the environment only, and the Hub's token goes to nobody but the Hub."""
    return os.environ.get(key_variable(host))


def _canvases(settings: Settings) -> list[tuple[int, int]] | None:
    """The canvas sizes (width, height) that the base was trained on, where its config is on this machine."""
    config = (BUNDLED_BASE if settings.base == "bundled" else Path(settings.base)) / "config.json"
    if not config.is_file():
        if settings.base == "bundled":
            raise EngineError(f"The bundled model is missing from {BUNDLED_BASE}. Check out the repository completely.")
        return None
    return json.loads(config.read_text(encoding="utf-8")).get("chart_canvases")


def _contract(settings: Settings) -> Contract | None:
    """How the served adapter was trained, where `--adapter` says which one it is."""
    if settings.adapter == "bundled" or (settings.adapter == "auto" and settings.base == "bundled"):
        name = str(BUNDLED_ADAPTER)
    elif settings.adapter in ("auto", "none"):
        return None
    else:
        name = settings.adapter
    return fetch_contract(name, settings.adapter_revision, settings.adapter_system)


def _notes(host: str, settings: Settings, contract: Contract | None) -> tuple[str, ...]:
    notes = [f"The server at {host} answers."]
    if settings.adapter_name is None:
        notes.append(NO_ADAPTER)
    elif (message := told(contract, settings.adapter_system, settings.adapter_name)) is not None:
        notes.append(message)
    elif contract is None:
        notes.append(
            f"How {settings.adapter_name} was trained is not known here; our system message is assumed. --adapter with "
            "its folder or Hub id reads it from there."
        )
    if settings.adapter_name is not None and contract is not None and contract.min_pixels:
        notes.append(
            f"{settings.adapter_name} was trained on charts of at least {contract.min_pixels:,} pixels; enlarging "
            "smaller ones is up to the server."
        )
    return tuple(notes)
