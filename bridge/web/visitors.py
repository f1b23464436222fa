"""Who comes to the web process: pages that look (a web socket each), and whoever asks for a page or for figures."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import tornado.web
import tornado.websocket

from bridge import control_wire
from bridge.async_client import AsyncClient
from bridge.desk import log_tail
from bridge.web.access import Access, Right, same_origin
from bridge.web.prometheus import as_text
from bridge.web.studio import MOST_VIEWERS, Studio, Viewer, as_json
from engine.errors import RingtrackError

if TYPE_CHECKING:
    from engine.process import Job

PAGE = Path(__file__).with_name("page")
LARGEST_MESSAGE = 64 << 10
MOST_ASKED = 4  # requests of one page under way at once
PATIENCE_S = 6.0
"""A page that has not said for so long that it has its picture is let go; it connects again by itself."""


def whole_page() -> str:
    """The page in one piece, as a browser gets it: its parts are files without a build step, scripts in their order."""
    scripts = "".join(path.read_text("utf-8") for path in sorted(PAGE.glob("*.js")))
    page = (PAGE / "page.html").read_text("utf-8")
    return page.replace("/*style*/", (PAGE / "page.css").read_text("utf-8")).replace("/*script*/", scripts)


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A message of the page: {"seen": 17} or {"want": {...}} or {"ask": ..., "id": 3}."""

    seen: int | None = None
    want: Viewer | None = None
    ask: dict[str, Any] | None = None
    id: int = 0


_KINDS = '{"seen": 17}, {"want": {"most_px": 800}} and {"ask": {"ask": "metrics", "v": 1}, "id": 3}'
_wishes = msgspec.json.Decoder(Wish)
WATCHERS_MAY = {"settings", "preview", "metrics", "accounting", "log", "hello"}
"""What may be asked with the watch token."""


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
                        "recording": bool(self._job.plan.of_kind("recorder")),
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._job.status.count("refused")
            self.tell(json.dumps({"error": f"not understood: a message is JSON, one of {_KINDS}"}))
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
                self.tell(as_json({"answer": {"error": "too many requests at once; try again"}, "id": wish.id}))
                return
            task = asyncio.ensure_future(self._answer(wish.ask, wish.id))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _answer(self, asked: dict[str, Any], number: int) -> None:
        self.tell(as_json({"answer": await self._ask(asked), "id": number}))

    async def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hand a request on to the control server, if this visitor may ask it."""
        if self._right is not Right.OPERATE and str(asked.get("ask")) not in WATCHERS_MAY:
            return {"error": "this needs the operate token; yours is for watching"}
        try:
            try:
                packed = msgspec.msgpack.encode(asked)
            except (OverflowError, RecursionError):
                return {"error": "not understood: a number has more than 64 bits, or lists lie too deep in one another"}
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
        if not self._access.knows_host(self.request.host):
            self._refuse("this page is for its own computer: open it as http://127.0.0.1, with its port\n")
        elif self._access.right(self.get_argument("token", header)) is Right.NOTHING:
            self._refuse("a token is needed: open an address that `ringtrack run` printed (web.json has them, too)\n")

    def _refuse(self, why: str) -> None:
        self._job.status.count("refused")
        self.set_status(403)
        self.finish(why)

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
            self.finish(whole_page())
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
        self.finish(as_json(content))


def application(studio: Studio, access: Access, job: Job, client: AsyncClient) -> tornado.web.Application:
    """Everything that is served; `client` is where a page's requests are handed on to."""
    common = {"studio": studio, "access": access, "job": job}
    return tornado.web.Application(
        [
            (r"/socket", Socket, common | {"client": client}),
            (r"/(|metrics|health|api|api/metrics|api/accounting|api/log)/?", Plain, common),
        ],
        websocket_max_message_size=LARGEST_MESSAGE,
        websocket_ping_interval=5,
        websocket_ping_timeout=5,
        log_function=lambda _: None,
    )
