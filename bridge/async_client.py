"""`Client` for asyncio: the same calls with `await`, many under way at once.

async with AsyncClient("tcp://127.0.0.1:50053") as client:
    await client.configure_tracking(minmass=400)
    async for frame in client.results():
        ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.calls import (
    Calls,
    FrameResult,
    Image,
    Settings,
    fetched,
    image_of,
    keys_of,
    packed,
    record_request,
    results_of,
    settings_of,
    taken,
)
from bridge.uploads import Uploads
from engine.errors import ClosedError


class AsyncClient(Calls):
    """`Client` for asyncio: the same calls with `await`, many under way at once."""

    _context: Any = None
    _uploads: tuple[Uploads, asyncio.Lock] | None

    async def call(self, request: wire.AnyRequest) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Ask; the result and its arrays. A connection for each call that is under way at once; they are kept."""
        if self._context is None or self._context.closed:
            raise ClosedError("this client is used within `async with AsyncClient(...) as client:`")
        socket = self._idle.pop() if self._idle else self._connect(self._context)
        request = self._leaving(request)
        try:
            async with asyncio.timeout(self._limit_ms(request) / 1000):
                await socket.send(packed(request))
                answer, arrays = wire.decode_answer(await socket.recv_multipart())
                for part in answer.beside:
                    arrays[part.name] = await self._fetch(part, answer.beside_port)
        except TimeoutError:
            socket.close(linger=0)
            raise self._late(request) from None
        except BaseException:  # called off: an answer that comes later must not be taken for another's
            socket.close(linger=0)
            raise
        self._idle.append(socket)
        self.run_id = answer.run_id or self.run_id
        return taken(answer, arrays)

    async def _fetch(self, part: wire.BesidePart, port: int) -> NDArray[Any]:
        """Pixels that are not encrypted, from the port beside the server's."""
        with self._connect_beside(self._context, port) as socket:
            await socket.send(part.ticket)
            return fetched(part, await socket.recv())

    async def hello(self) -> dict[str, Any]:
        return (await self.call(wire.Hello()))[0]

    async def settings(self, version: int = 0) -> Settings:
        return settings_of((await self.call(wire.GetSettings(version=version)))[0])

    async def configure(self, values: dict[str, Any]) -> Settings:
        return settings_of((await self.call(wire.SetSettings(values=values)))[0])

    async def configure_tracking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Settings:
        return await self.configure(keys_of("tracking", values, more))

    async def configure_linking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Settings:
        return await self.configure(keys_of("linking", values, more))

    async def undo(self) -> Settings:
        return settings_of((await self.call(wire.Undo()))[0])

    async def preview(self, values: dict[str, Any] | None = None, /, **more: Any) -> NDArray[Any]:
        return (await self.call(wire.Preview(values=keys_of("tracking", values, more))))[1]["rows"]

    async def get_latest_image(
        self,
        most_px: int = 0,
        region: tuple[int, int, int, int] | None = None,
        *,
        saturated: bool = False,
        clip: bool = False,
    ) -> Image:
        return image_of(*await self.call(wire.Latest(most_px=most_px, region=region, saturated=saturated, clip=clip)))

    async def results(self, *, from_frame: int | None = None, wait_s: float = 1.0) -> AsyncIterator[FrameResult]:
        after: int | None = None
        run_id = self._meant
        while True:
            request = wire.Results(after=after, from_frame=from_frame, wait_s=wait_s, run=run_id)
            result, arrays = await self.call(request)
            after, run_id = result["after"], self.run_id
            for one in results_of(result, arrays):
                yield one
            if result["closed"]:
                return

    async def metrics(self) -> dict[str, Any]:
        return (await self.call(wire.Metrics()))[0]

    async def accounting(self) -> dict[str, Any]:
        return (await self.call(wire.Accounting()))[0]

    async def mark(self, text: str) -> int:
        return int((await self.call(wire.Mark(text=text)))[0]["frame"])

    async def note(self, text: str) -> None:
        await self.call(wire.Note(text=text))

    async def trace(self, seconds: float = 5.0) -> str:
        return str((await self.call(wire.Trace(seconds=seconds)))[0]["file"])

    async def save_stack(self, name: str = "stack", count: int = 0) -> str:
        return str((await self.call(wire.SaveStack(name=name, count=count)))[0]["file"])

    async def log(self, lines: int = 20) -> list[dict[str, Any]]:
        return list((await self.call(wire.LogLines(lines=lines)))[0]["lines"])

    async def record(
        self, action: str = "start", name: str = "", *, before_s: float = 0, for_s: float = 0
    ) -> dict[str, Any]:
        return (await self.call(record_request(action, name, before_s, for_s)))[0]

    async def configure_storage(self, values: dict[str, bool] | None = None, /, **more: bool) -> dict[str, Any]:
        return (await self.call(wire.Storage(values=(values or {}) | more)))[0]

    async def upload_image(self, image: NDArray[Any], source: str = "client") -> int:
        camera = (await self.hello())["camera"]
        if self._uploads is None:
            self._uploads = Uploads(self.address, self.timeout_s, self._keys), asyncio.Lock()
        uploads, one_at_a_time = self._uploads
        async with one_at_a_time:
            return await asyncio.to_thread(uploads.upload, image, source, self.run_id, camera)

    async def stop(self) -> None:
        await self.call(wire.Stop())

    async def __aenter__(self) -> AsyncClient:
        import zmq.asyncio

        self._context = zmq.asyncio.Context()
        self._idle: list[Any] = []
        self._uploads = None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._context.destroy(linger=0)
        if self._uploads is not None:
            await asyncio.to_thread(self._uploads[0].close)
