"""The web process: the page, its socket, and figures for machines, all on one port.

It is a live reader of the rings and works only while somebody looks. Each frame is reduced and encoded once for each
size and quality that is wanted; a client has at most one picture under way and gets the next one after it said that it
has the last and draws it, and always the newest: a slow network sees fewer pictures, never old ones. Changes of
settings and remarks go through the control server, like anybody's.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket

from bridge import control_wire
from bridge.async_client import AsyncClient
from bridge.control import local_address
from bridge.desk import log_tail
from bridge.figures import Figures
from bridge.looking import Looker, step_for
from bridge.web.access import Access, Right, same_origin
from bridge.web.pictures import PARTICLES, PICTURE, Encoded, Stretch, head, particles
from bridge.web.prometheus import as_text
from engine.clocks import monotonic_ns
from engine.errors import RingtrackError
from engine.settings_rules import is_loopback, parse_address
from engine.shm.wakeup import LONGEST_S

if TYPE_CHECKING:
    from engine.process import Job

COUNTERS = ("viewers", "pictures", "bytes", "encoded", "requests", "refused", "encode_ns")
PAGE = Path(__file__).with_name("page.html")
LARGEST_MESSAGE = 64 << 10
MOST_VIEWERS = 32
MOST_ASKED = 4  # requests of one page under way at once
PATIENCE_S = 6.0
"""A page that has not said for so long that it has its picture is let go; it connects again by itself."""
STATISTICS_EVERY_S = 1.0
POLL_S = 0.004
SHARED = 0.6
"""A picture made so long ago, in parts of the time between two pictures, still goes to who comes late."""


class Viewer(msgspec.Struct):
    """What a client wants to see."""

    most_px: int = 1024
    quality: int = 85
    fps: float = 30.0
    overlay: bool = True
    paused: bool = False


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A message of the page: {"seen": 17} or {"want": {...}} or {"ask": ..., "id": 3}."""

    seen: int | None = None
    want: Viewer | None = None
    ask: dict[str, Any] | None = None
    id: int = 0


_wishes = msgspec.json.Decoder(Wish)
WATCHERS_MAY = {"settings", "preview", "metrics", "accounting", "log", "hello"}
"""What may be asked with the watch token."""


class Studio:
    """Makes pictures for all viewers: takes the newest frame and encodes it once for each size."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.looker = Looker(job.rings)
        self.figures = Figures(job.rings)
        self.viewers: set[Socket] = set()
        self.shape_hw = job.experiment.camera.shape_hw
        self._stretch = Stretch()
        self._encoded: dict[int, Encoded] = {}  # by how much it is reduced

    async def serve(self) -> None:
        """Until the run stops. Without viewers it looks ten times a second whether there are any."""
        statistics_due = 0.0
        while not self._job.stopping:
            self._job.status.beat()
            if not self.viewers:
                await asyncio.sleep(LONGEST_S)
                continue
            now = time.monotonic()
            if now >= statistics_due:
                statistics_due = now + STATISTICS_EVERY_S
                self._tell_statistics()
            due = [viewer for viewer in self.viewers if viewer.is_due(now, self.looker.newest)]
            if due:
                self._show(due, now)
            # Until somebody can be due; then as often as a new frame, or a word that the last has come, is looked for.
            soonest = min((viewer.due_at for viewer in self.viewers if not viewer.wants.paused), default=now + 1)
            await asyncio.sleep(min(LONGEST_S, max(POLL_S, soonest - time.monotonic())))

    def _show(self, due: list[Socket], now: float) -> None:
        """The newest frame to everybody who is ready for one."""
        for viewer in due:
            began = time.perf_counter_ns()
            step = step_for(self.shape_hw, viewer.wants.most_px)
            encoded = self._encoded.get(step)
            # Who is late for this turn gets what the others got, instead of one more frame encoded for it alone.
            if encoded is None or encoded.place == viewer.shown or now - encoded.made_at > SHARED / viewer.wants.fps:
                encoded = self._make(step, now)
                if encoded is None:
                    continue
            picture, made = encoded.picture(viewer.wants.quality)
            viewer.send(encoded.place, now, picture, encoded.particles)
            self._job.status.count("encoded", int(made))
            self._job.status.count("pictures")
            self._job.status.count("bytes", len(picture) + len(encoded.particles))
            self._job.status.count("encode_ns", time.perf_counter_ns() - began)

    def _make(self, step: int, now: float) -> Encoded | None:
        """The newest frame in a size; None: there is none yet, or its pixels are gone."""
        look = self.looker.latest(-(-max(self.shape_hw) // step))
        if look is None or look.pixels is None:
            return None
        self._stretch.follow(look.pixels)
        drawn = head(PARTICLES, look, self.shape_hw, monotonic_ns()) + particles(look.rows)
        first = head(PICTURE, look, self.shape_hw, monotonic_ns())
        encoded = Encoded(look.place, now, first, self._stretch.apply(look.pixels), drawn)
        self._encoded[step] = encoded
        if len(self._encoded) > MOST_VIEWERS:
            self._encoded.pop(next(iter(self._encoded)))
        return encoded

    def _tell_statistics(self) -> None:
        text = _as_json({"metrics": self.figures.metrics(), "viewers": len(self.viewers)})
        for viewer in list(self.viewers):
            viewer.tell(text)


class Socket(tornado.websocket.WebSocketHandler):
    """One page that looks."""

    def initialize(self, studio: Studio, access: Access, job: Job, client: AsyncClient) -> None:
        self._studio, self._access, self._job, self._client = studio, access, job, client
        self.wants = Viewer()
        self._under_way = False
        self._sent_at = self.due_at = 0.0
        self.shown = -1
        self._right = Right.NOTHING
        self._asking: set[asyncio.Future[None]] = set()

    def check_origin(self, origin: str) -> bool:
        return same_origin(origin, self.request.host) and self._access.knows_host(self.request.host)

    async def get(self, *args: Any, **kwargs: Any) -> None:
        self._right = self._access.right(self.get_argument("token", ""))
        if self._right is Right.NOTHING or len(self._studio.viewers) >= MOST_VIEWERS:
            self._job.status.count("refused")
            self.set_status(403 if self._right is Right.NOTHING else 503)
            await self.finish("a token is needed" if self._right is Right.NOTHING else "too many viewers")
            return
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        self._studio.viewers.add(self)
        self._job.status.set("viewers", len(self._studio.viewers))
        simulated = any("simulated" in str(p.options.get("source", "")) for p in self._job.plan.processes)
        camera = self._job.experiment.camera
        self.tell(
            json.dumps(
                {
                    "hello": {
                        "name": self._job.experiment.experiment.name,
                        "run_id": self._job.run_id,
                        "run_folder": str(self._job.run_folder),
                        "may_operate": self._right is Right.OPERATE,
                        "slm": self._job.experiment.slm.enabled,
                        "simulated": simulated,
                        "width": camera.width,
                        "height": camera.height,
                        "pixel_um": camera.pixel_um,
                        "fps": camera.fps,
                        "recording": self._job.experiment.record.hdf5,
                    }
                }
            )
        )

    def on_close(self) -> None:
        for task in self._asking:
            task.cancel()
        self._studio.viewers.discard(self)
        self._job.status.set("viewers", len(self._studio.viewers))

    async def on_message(self, message: str | bytes) -> None:
        try:
            wish = _wishes.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._job.status.count("refused")
            self.tell(json.dumps({"error": f"not understood: {error}"}))
            return
        if wish.seen is not None:
            self._under_way = False
        if wish.want is not None:
            wanted = wish.want
            wanted.most_px = min(4096, max(64, wanted.most_px))
            wanted.quality = min(95, max(10, wanted.quality))
            wanted.fps = min(60.0, max(0.2, wanted.fps))
            self.wants = wanted
        if wish.ask is not None:
            # Beside the messages that follow: pictures go on while an answer is waited for.
            if len(self._asking) >= MOST_ASKED:
                self.tell(_as_json({"answer": {"error": "too many requests at once; try again"}, "id": wish.id}))
                return
            task = asyncio.ensure_future(self._answer(wish.ask, wish.id))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _answer(self, asked: dict[str, Any], number: int) -> None:
        self.tell(_as_json({"answer": await self._ask(asked), "id": number}))

    async def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hand a request on to the control server, if this visitor may ask it."""
        if self._right is not Right.OPERATE and asked.get("ask") not in WATCHERS_MAY:
            return {"error": "this needs the operate token; yours is for watching"}
        try:
            try:
                packed = msgspec.msgpack.encode(asked)
            except OverflowError as error:
                return {"error": f"not understood: {error}"}
            request = control_wire.decode_request(packed)
            if isinstance(request, (control_wire.Latest, control_wire.Results)):
                return {"error": "pictures come by themselves here"}
            result, arrays = await self._client.call(request)
        except RingtrackError as error:
            return {"error": str(error)}
        rows = arrays.get("rows")
        if rows is not None:
            result["xy"] = [[round(float(x), 2), round(float(y), 2)] for x, y in zip(rows["x"], rows["y"])][:4000]
        return result

    # ---- pictures

    def is_due(self, now: float, newest: int) -> bool:
        """Whether this client can take another picture now."""
        if self.wants.paused or newest == self.shown or now < self.due_at:
            return False
        if self._under_way and now - self._sent_at > PATIENCE_S:
            self.close(1001, "nothing was drawn")
            return False
        return not self._under_way

    def send(self, place: int, now: float, picture: bytes, drawn: bytes) -> None:
        """One picture and its particles; no other until the page says that it has begun to draw it."""
        self._under_way, self._sent_at, self.shown = True, now, place
        # From when it was due, so that the rate is the one asked for; after a pause from now.
        period = 1.0 / self.wants.fps
        self.due_at = max(self.due_at + period, now + period / 4)
        try:
            if self.wants.overlay:
                self.write_message(drawn, binary=True)
            self.write_message(picture, binary=True)
        except tornado.websocket.WebSocketClosedError:
            self._studio.viewers.discard(self)

    def tell(self, text: str) -> None:
        try:
            self.write_message(text)
        except tornado.websocket.WebSocketClosedError:
            self._studio.viewers.discard(self)


class Plain(tornado.web.RequestHandler):
    """Pages and figures for machines."""

    def initialize(self, studio: Studio, access: Access, job: Job) -> None:
        self._studio, self._access, self._job = studio, access, job

    def prepare(self) -> None:
        self._job.status.count("requests")
        header = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        allowed = self._access.right(self.get_argument("token", header)) is not Right.NOTHING
        if not allowed or not self._access.knows_host(self.request.host):
            self._job.status.count("refused")
            self.set_status(403)
            self.finish("a token is needed: open the address that the run's log shows\n")

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' blob: data:; frame-ancestors 'none'",
        )

    def get(self, name: str) -> None:
        if name == "":
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(PAGE.read_bytes())
        elif name == "metrics":
            self.set_header("Content-Type", "text/plain; version=0.0.4")
            self.finish(as_text(self._studio.figures.metrics(), len(self._studio.viewers)))
        elif name == "health":
            self._health()
        elif name == "api":
            self.finish({"api": ["/api/metrics", "/api/accounting", "/api/log"]})
        elif name == "api/metrics":
            self._json(self._studio.figures.metrics())
        elif name == "api/accounting":
            self._json({"steps": self._studio.figures.accounting(), "lost": self._studio.figures.losses()})
        elif name == "api/log":
            self._json({"lines": log_tail(self._job.run_folder / "log.jsonl", 50)})
        else:
            self.send_error(404)

    def _health(self) -> None:
        processes = self._studio.figures.processes()
        ill = [name for name, each in processes.items() if each["state"] in ("absent", "starting")]
        self.set_status(503 if ill else 200)
        self._json({"healthy": not ill, "not_ready": ill, "run_id": self._job.run_id})

    def _json(self, content: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(_as_json(content))


def _as_json(content: Any) -> str:
    """For JavaScript, which knows no NaN: null."""
    return json.dumps(_without_nan(content), default=str)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(each) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


async def _serve(job: Job) -> None:
    listen = job.experiment.web.listen
    host, port = parse_address(listen, scheme="")
    access = _access(job, open_to_others=not is_loopback(host))
    studio = Studio(job)
    async with AsyncClient(local_address(job.run_id)) as client:
        common = {"studio": studio, "access": access, "job": job}
        application = tornado.web.Application(
            [
                (r"/socket", Socket, common | {"client": client}),
                (r"/(|metrics|health|api|api/metrics|api/accounting|api/log)/?", Plain, common),
            ],
            websocket_max_message_size=LARGEST_MESSAGE,
            websocket_ping_interval=5,
            websocket_ping_timeout=5,
            log_function=lambda _: None,
        )
        server = tornado.httpserver.HTTPServer(application, max_body_size=LARGEST_MESSAGE)
        said = False
        while not job.stopping:
            try:
                sockets = tornado.netutil.bind_sockets(port, "" if host == "*" else host)
            except OSError as error:
                if not said:  # a page is no reason to end a run
                    said = True
                    job.log("warning", f"web.listen: {listen} cannot be had yet: {error}")
                    job.status.ready()
                job.status.beat()
                await asyncio.sleep(LONGEST_S)
                continue
            server.add_sockets(sockets)
            port = sockets[0].getsockname()[1]
            _announce(job, host, port, access)
            break
        job.status.ready()
        await studio.serve()
        server.stop()
        for viewer in list(studio.viewers):
            viewer.tell(json.dumps({"ended": True}))
            viewer.close(1001, "the run has ended")
        await asyncio.sleep(0.05)


def _access(job: Job, open_to_others: bool) -> Access:
    """The run's tokens: those of the process before, if there was one, so that open pages find their way back."""
    try:
        found = json.loads((job.run_folder / "web.json").read_text())
        watch, operate = (urlsplit(found[name]).query.removeprefix("token=") for name in ("watch", "operate"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Access.new(open_to_others)
    return Access(watch, operate) if open_to_others and watch and operate else Access.new(open_to_others)


def _announce(job: Job, host: str, port: int, access: Access) -> None:
    """Where the page is, with its tokens, in the log and in a file that only this user can read."""
    address = f"http://{'localhost' if host in ('*', '0.0.0.0') else host}:{port}/"
    found = {"address": address, "port": port}
    if access.operate:
        found |= {"watch": f"{address}?token={access.watch}", "operate": f"{address}?token={access.operate}"}
    path = job.run_folder / "web.json"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps(found, indent=1) + "\n")
    job.log("info", f"the page is at {address}" + (" (addresses with tokens: web.json)" if access.operate else ""))


def main(job: Job) -> None:
    """Serve until told to stop."""
    asyncio.run(_serve(job))
