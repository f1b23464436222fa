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
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import zmq
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.calls import DEFAULT_ADDRESS as DEFAULT_ADDRESS
from bridge.calls import Calls, fetched, image_of, keys_of, packed, record_request, results_of, settings_of, taken
from bridge.calls import FrameResult as FrameResult
from bridge.calls import Image as Image
from bridge.calls import Settings as Settings
from bridge.uploads import Uploads
from engine.errors import ClosedError

if TYPE_CHECKING:
    from bridge.slm.client import LightClient


class Client(Calls):
    """See the module. A context manager; it connects at the first call."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 5.0,
        keys: Path | str | None = None,
        run_id: str = "",
    ) -> None:
        """`keys`: the folder of `client.key_secret` and `server.key`, for a server on another computer.

        `run_id`: the run that is meant; another one at the same address refuses every call. Without it whichever run
        is there is steered, and `client.run_id` says which one answered last.
        """
        super().__init__(address, timeout_s=timeout_s, keys=keys, run_id=run_id)
        self._uploads: Uploads | None = None
        self._closed = False

    def call(self, request: wire.AnyRequest) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
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

    def hello(self) -> dict[str, Any]:
        """The run: name, folder, camera, which keys are live."""
        return self.call(wire.Hello())[0]

    def settings(self, version: int = 0) -> Settings:
        """The settings of a version; 0: of the newest."""
        return settings_of(self.call(wire.GetSettings(version=version))[0])

    def configure(self, values: dict[str, Any]) -> Settings:
        """Other values for live keys, as {"tracking.minmass": 400, "linking.memory": 5}; all or none."""
        return settings_of(self.call(wire.SetSettings(values=values))[0])

    def configure_tracking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Settings:
        """Other values for keys of [tracking]: `configure_tracking(minmass=400)`."""
        return self.configure(keys_of("tracking", values, more))

    def configure_linking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Settings:
        """Other values for keys of [linking]."""
        return self.configure(keys_of("linking", values, more))

    def undo(self) -> Settings:
        """Bring back the settings before the last change."""
        return settings_of(self.call(wire.Undo())[0])

    def preview(self, values: dict[str, Any] | None = None, /, **more: Any) -> NDArray[Any]:
        """Features that the newest frame would have with other values of [tracking]; nothing is changed."""
        return self.call(wire.Preview(values=keys_of("tracking", values, more)))[1]["rows"]

    def get_latest_image(
        self,
        most_px: int = 0,
        region: tuple[int, int, int, int] | None = None,
        *,
        saturated: bool = False,
        clip: bool = False,
    ) -> Image:
        """The newest frame with its particles; reduced until no side is longer than `most_px` (0: as it is).

        `region`: only the pixels of rows y0 to y1 and columns x0 to x1; particles are those of the whole frame. Raises
        SettingsError for a region that is not in the frame, unless `clip`: then as much of it as is.
        """
        return image_of(*self.call(wire.Latest(most_px=most_px, region=region, saturated=saturated, clip=clip)))

    def results(self, *, from_frame: int | None = None, wait_s: float = 1.0) -> Iterator[FrameResult]:
        """Results in order, from a frame number on or from now on, until the run ends.

        A reader that is too slow for the ring goes on with the oldest frame that is kept. Raises PeerError when
        another run has come to this address: its frames are numbered anew.
        """
        after: int | None = None
        run_id = self._meant
        while True:
            request = wire.Results(after=after, from_frame=from_frame, wait_s=wait_s, run=run_id)
            result, arrays = self.call(request)
            after, run_id = result["after"], self.run_id
            yield from results_of(result, arrays)
            if result["closed"]:
                return

    def metrics(self) -> dict[str, Any]:
        """Rates, latencies, counts, processes, by name."""
        return self.call(wire.Metrics())[0]

    def accounting(self) -> dict[str, Any]:
        """Each step's arrived, out, lost and in flight, and the ranges of frames that were lost."""
        return self.call(wire.Accounting())[0]

    def mark(self, text: str) -> int:
        """Mark the newest frame in the run's events; its number. A rule (record.trigger) may wait for it."""
        return int(self.call(wire.Mark(text=text))[0]["frame"])

    def note(self, text: str) -> None:
        """Write a remark into the run's events, at this moment."""
        self.call(wire.Note(text=text))

    def trace(self, seconds: float = 5.0) -> str:
        """Have a trace of so many seconds written, for ui.perfetto.dev; the file on the tracking machine."""
        return str(self.call(wire.Trace(seconds=seconds))[0]["file"])

    def save_stack(self, name: str = "stack", count: int = 0) -> str:
        """Have frames written as one BigTIFF into the run's folder: the next `count`, or (0) those in the ring.

        The file on the tracking machine; it has its name when it is complete.
        """
        return str(self.call(wire.SaveStack(name=name, count=count))[0]["file"])

    def record(self, action: str = "start", name: str = "", *, before_s: float = 0, for_s: float = 0) -> dict[str, Any]:
        """Start, stop, pause or resume recording; the state, and `from_frame`, the first frame that it holds for.

        `before_s`: frames of the last seconds are of the take too; `for_s`: it ends by itself. Raises SettingsError.
        """
        return self.call(record_request(action, name, before_s, for_s))[0]

    def configure_storage(self, values: dict[str, bool] | None = None, /, **more: bool) -> dict[str, Any]:
        """Switch outputs of the run off and on: `configure_storage(csv=False, lsl=True)`; `outputs` as they are now.

        `from_frame`: the first frame that it holds for. Raises SettingsError for one that the run was started without.
        """
        return self.call(wire.Storage(values=(values or {}) | more))[0]

    def log(self, lines: int = 20) -> list[dict[str, Any]]:
        """The last lines of the run's log."""
        return list(self.call(wire.LogLines(lines=lines))[0]["lines"])

    def stop(self) -> None:
        """End the run in order."""
        self.call(wire.Stop())

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

        return LightClient(lambda order, values: self.call(wire.Slm(order=order, values=values))[0])

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
