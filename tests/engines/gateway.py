"""A gateway in front of a real model server, on loopback: what refuses, wants a key or is slow is usually there."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
from endpoint_server import KEY, serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Gateway:
    """Passes requests on to `upstream` (with /v1). refused: for this model alone, by `fault`: an HTTP status (401 only
    without KEY), or "slow" for silence behind the first piece of the answer."""

    def __init__(self, upstream: str, refused: str, fault: int | str) -> None:
        self.upstream = upstream
        self.refused = refused
        self.fault = fault
        self.client = httpx.AsyncClient(timeout=None)

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        fault = self.fault if body["model"] == self.refused else None
        if fault == 401 and request.headers.get("authorization") == f"Bearer {KEY}":
            fault = None
        if isinstance(fault, int):
            return JSONResponse({"error": {"message": "says the gateway"}}, fault)
        asked = self.client.build_request("POST", f"{self.upstream}/chat/completions", json=body)
        answer = await self.client.send(asked, stream=True)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.aiter_raw():
                    yield piece
                    if fault == "slow" and b'"content"' in piece:
                        await asyncio.sleep(3600)
            finally:
                await answer.aclose()

        return StreamingResponse(pieces(), answer.status_code, media_type=answer.headers["content-type"])


@contextmanager
def gateway(upstream: str, refused: str, fault: int | str) -> Iterator[str]:
    """Its address, /v1 included."""
    own = Gateway(upstream, refused, fault)
    with serving(Starlette(routes=[Route("/v1/chat/completions", own.complete, methods=["POST"])])) as url:
        yield url
