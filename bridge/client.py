"""Client: steers a run and reads its results, from a script or a notebook.

    with Client("tcp://127.0.0.1:50053") as client:
        client.configure_tracking(minmass=400)     # a version of the settings, from a stated frame on
        image = client.get_latest_image()          # pixels, particles as a DataFrame, times
        for frame in client.results():             # as they come
            ...

Each call is a request with an answer and a time limit; a server that restarted is found again by itself. One `Client`
serves one thread. `bridge.AsyncClient` is the same with `await`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import zmq
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.answers import FrameResult as FrameResult
from bridge.answers import Image as Image
from bridge.answers import Settings as Settings
from bridge.both_ways import Arrays, Result, Waiting
from bridge.calls import Calls, Following
from bridge.connection import DEFAULT_ADDRESS as DEFAULT_ADDRESS
from bridge.connection import fetched, packed, taken
from bridge.uploads import Uploads
from engine.errors import ClosedError

if TYPE_CHECKING:
    from bridge.slm.client import LightClient


class Client(Calls, Waiting):
    """See the module. A context manager; it connects at the first call."""

    _uploads: Uploads | None = None
    _closed = False

    def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        """Ask; the result and its arrays. Raises SettingsError or PeerError with what the server said."""
        if self._closed:
            raise ClosedError("this client was closed")
        if self._socket is None:
            self._context = zmq.Context()
            try:
                self._socket = self._connect(self._context)
            except BaseException:
                self._context.term()
                raise
        request = self._leaving(request)
        try:
            self._socket.send(packed(request), zmq.NOBLOCK)
        except zmq.Again:
            raise self._late(request) from None
        limit = self._limit_ms(request)
        while self._socket.poll(limit):
            parts = [part.buffer for part in self._socket.recv_multipart(copy=False)]
            answer, arrays = wire.decode_answer(parts)
            if answer.id in (request.id, 0):  # others are answers that came too late
                self.run_id = answer.run_id or self.run_id
                for part in answer.beside:
                    arrays[part.name] = self._fetch(part, answer.beside_port, limit, request)
                return taken(answer, arrays)
        self._drop()  # what was asked is forgotten with the connection: a late answer never meets another question
        raise self._late(request)

    def _fetch(self, part: wire.BesidePart, port: int, limit_ms: int, request: wire.AnyRequest) -> NDArray[Any]:
        """Pixels that are not encrypted, from the port beside the server's."""
        with self._connect_beside(self._context, port) as socket:
            socket.send(part.ticket)
            if not socket.poll(limit_ms):
                raise self._late(request)
            return fetched(part, socket.recv(copy=False).buffer)

    def results(self, *, from_frame: int | None = None, wait_s: float = 1.0) -> Iterator[FrameResult]:
        """Results in order, from a frame number on or from now on, until the run ends.

        A reader that is too slow for the ring goes on with the oldest frame that is kept. Raises PeerError when
        another run has come to this address: its frames are numbered anew.
        """
        following = Following(self, self._meant, from_frame, wait_s)
        while not following.closed:
            yield from self.ask(following.more())

    def upload_image(self, image: NDArray[Any], source: str = "client") -> int:
        """Send a frame into the run as its camera would, and wait until the run has it; its number in the run.

        `image`: (height, width) of the run's shape and type. `source`: its name for people; the run has one source at a
        time, and this one stays it until the client is closed, or silent for some seconds. -1 instead of the number if
        it was taken and the answer lost on the way. Raises SettingsError for an image of another kind, PeerError if
        another source speaks, or if the frame was not taken.
        """
        camera = self.hello()["camera"]
        if self._uploads is None:
            self._uploads = Uploads(self.address, self.timeout_s, self._keys)
        return self._uploads.upload(image, source, self.run_id, camera)

    @property
    def slm(self) -> LightClient:
        """The light: `client.slm.catch()`, `.arm()`, `.assemble(...)`."""
        from bridge.slm.client import LightClient

        return LightClient(self)

    def close(self) -> None:
        """Say good-bye. A run is never stopped by this."""
        uploads, self._uploads = self._uploads, None
        self._closed = True
        self._drop()
        if uploads is not None:
            uploads.close()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._context.term()
            self._socket = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
