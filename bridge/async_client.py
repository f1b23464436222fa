"""`Client` for asyncio: the same calls with `await`, many under way at once.

    async with AsyncClient("tcp://127.0.0.1:50053") as client:
        await client.configure_tracking(minmass=400)
        async for frame in client.results():
            ...

A call that is cancelled takes its connection with it: what is answered later is nobody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.answers import FrameResult
from bridge.both_ways import Arrays, Awaiting, Result
from bridge.calls import Calls, Following
from bridge.connection import fetched, packed, taken
from bridge.uploads import Uploads
from engine.errors import ClosedError

if TYPE_CHECKING:
    from bridge.slm.client import AsyncLightClient


class AsyncClient(Calls, Awaiting):
    """`Client` for asyncio: the same calls with `await`, many under way at once."""

    _context: Any = None
    _uploads: tuple[Uploads, asyncio.Lock] | None

    async def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
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

    async def results(self, *, from_frame: int | None = None, wait_s: float = 1.0) -> AsyncIterator[FrameResult]:
        """As those of `Client`."""
        following = Following(self, self._meant, from_frame, wait_s)
        while not following.closed:
            for one in await self.ask(following.more()):
                yield one

    async def upload_image(self, image: NDArray[Any], source: str = "client") -> int:
        """As that of `Client`; one image at a time."""
        camera = (await self.hello())["camera"]
        if self._uploads is None:
            self._uploads = Uploads(self.address, self.timeout_s, self._keys), asyncio.Lock()
        uploads, one_at_a_time = self._uploads
        async with one_at_a_time:
            return await asyncio.to_thread(uploads.upload, image, source, self.run_id, camera)

    @property
    def slm(self) -> AsyncLightClient:
        """The light: `await client.slm.catch()`, `.arm()`, `.assemble(...)`."""
        from bridge.slm.client import AsyncLightClient

        return AsyncLightClient(self)

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
