"""A real browser (Chromium) looks at a simulated run: driven over its own debugging socket, judged by its pixels."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tornado.websocket
from PIL import Image

from bridge import Sender
from bridge.keys import make_keys
from tests.system.running import Laboratory, free_port, wait_until

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (scripts/debian-tools.sh)")
SHOTS = os.environ.get("RINGTRACK_SCREENSHOTS")


class Page:
    """One page of the browser, over the Chrome DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._socket.read_message())
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def value(self, expression: str) -> Any:
        """Of an expression in the page; promises are waited for."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 20.0) -> Any:
        for _ in range(int(timeout_s / 0.05)):
            value = await self.value(expression)
            if value:
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"waited {timeout_s:g} s for {expression}; it is {value!r}")

    async def screenshot(self, name: str) -> None:
        if SHOTS:
            data = (await self.call("Page.captureScreenshot", format="png"))["data"]
            Path(SHOTS, name).write_bytes(base64.b64decode(data))


@contextmanager
def _browser(folder: Path) -> Iterator[int]:
    port = free_port()
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder}",
         f"--remote-debugging-port={port}", "--window-size=1440,900", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


async def _page(port: int, address: str) -> Page:
    def listed() -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=2) as answer:
                return [each for each in json.load(answer) if each["type"] == "page"]
        except OSError:
            return None

    found = wait_until(listed, "the browser")
    socket = await tornado.websocket.websocket_connect(found[0]["webSocketDebuggerUrl"], max_message_size=1 << 26)
    page = Page(socket)
    await page.call("Page.enable")
    await page.call("Page.navigate", url=address)
    return page


def _get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


BRIGHT_AT_PARTICLES = """(() => {
  const p = ringtrack.particles, h = ringtrack.head, c = document.getElementById("image"), g = c.getContext("2d");
  let hits = 0, many = 0, all = g.getImageData(0, 0, c.width, c.height).data, sum = 0;
  for (let i = 0; i < all.length; i += 4) sum += all[i];
  const mean = sum / (all.length / 4);
  for (let i = 0; i < p.count; i++) {
    const x = Math.floor(p.f[4 * i] / h.step), y = Math.floor(p.f[4 * i + 1] / h.step);
    many++; if (all[4 * (y * c.width + x)] > mean + 20) hits++;
  }
  return many && p.place === h.place ? [many, hits] : null;
})()"""
ON_ITS_RING = """(() => {
  const p = ringtrack.particles, v = ringtrack.view, c = document.getElementById("over"), g = c.getContext("2d");
  const k = devicePixelRatio, all = g.getImageData(0, 0, c.width, c.height).data;
  const at = (x, y) => all[4 * (Math.floor(y) * c.width + Math.floor(x)) + 3] > 60;
  const lit = (x, y) => [-1, 0, 1].some(u => [-1, 0, 1].some(v => at(x + u, y + v)));
  let many = 0, ring = 0, middle = 0;
  for (let i = 0; i < p.count; i++) {
    const x = ((p.f[4 * i] + .5) * v.zoom + v.panX) * k, y = ((p.f[4 * i + 1] + .5) * v.zoom + v.panY) * k;
    const r = Math.max(4, (p.f[4 * i + 2] * 1.8 + 1) * v.zoom) * k;
    many++;
    for (const [dx, dy] of [[r, 0], [-r, 0], [0, r], [0, -r]]) ring += lit(x + dx, y + dy);
    middle += at(x, y);
  }
  return p.place === ringtrack.head.place ? [many, ring, middle] : null;
})()"""
STILL = """(async () => { const b = new Uint8Array(await (await ringtrack.still()).arrayBuffer());
  let s = ""; for (const c of b) s += String.fromCharCode(c); return btoa(s); })()"""
OVERLAY_PIXELS = """(() => { const c = document.getElementById("over");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"""

DECODED_ONLY_AFTER_THE_CONNECTION_IS_LOST = """(() => {
  const decode = createImageBitmap, onclose = socket.onclose;
  let release;
  const closed = new Promise((done) => { release = done; });
  window.late = { decoded: false, lost: false };
  window.createImageBitmap = async (blob) => {
    const bitmap = await decode(blob);
    late.decoded = true;
    await closed;
    return bitmap;
  };
  socket.onclose = (event) => { onclose(event); late.lost = true; release(); };
})()"""


async def _look(page: Page, run: Any, address: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    await page.until("window.ringtrack && ringtrack.state === 'live' && ringtrack.particles.count > 0")
    await asyncio.sleep(1.0)
    facts["shown"] = await page.value("ringtrack.shown / 2")
    facts["age_ms"] = float(await page.value("document.getElementById('f-age').textContent"))
    facts["bright"] = await page.until(BRIGHT_AT_PARTICLES)
    facts["overlay"] = await page.value(OVERLAY_PIXELS)
    facts["rings"] = await page.until(ON_ITS_RING)
    facts["still"] = base64.b64decode(await page.value(STILL))
    facts["received"] = await page.until("ringtrack.bytes")
    facts["rate"] = await page.value("document.getElementById('f-rate').textContent")
    facts["warning"] = await page.value("document.getElementById('warn').textContent")
    await page.screenshot("web-page.png")
    await page.value("const e = document.getElementById('k-minmass'); e.value = '1e9'; e.oninput()")
    await page.value("document.getElementById('apply').click()")
    await page.until("document.getElementById('said').textContent.includes('from frame')")
    await page.until("ringtrack.particles.count === 0")
    await page.value("document.getElementById('undo').click()")
    await page.until("ringtrack.particles.count > 0")
    facts["versions"] = await page.value("document.getElementById('version').textContent")
    ids = ["k-minmass", "preview", "apply", "undo", "text"]
    await page.value("operate(false)")
    facts["watcher"] = await page.value(f"{ids}.map((id) => document.getElementById(id).disabled)")
    await page.value("operate(true)")
    await page.value("const d = document.getElementById('k-diameter'); d.value = '20'; d.oninput()")
    await page.value("document.getElementById('apply').click()")
    facts["refusal"] = await page.until(
        "document.getElementById('said').className && document.getElementById('said').textContent"
    )
    await page.value("const b = document.getElementById('k-diameter'); b.value = '11'; b.oninput()")
    switch, said = "document.querySelector('#out-{} button')", "document.getElementById('rec-said').textContent"
    await page.until(switch.format("hdf5") + "?.getAttribute('aria-checked') === 'true'")
    await page.value(switch.format("csv") + ".click()")
    facts["no csv"] = await page.until(f"{said}.includes('started without') && {said}")
    await page.value(switch.format("hdf5") + ".click()")
    facts["switched"] = await page.until(f"{said}.includes('off from') && {said}")
    await page.until(switch.format("hdf5") + ".getAttribute('aria-checked') === 'false'")
    await page.value(switch.format("hdf5") + ".click()")
    await page.until(f"{said}.includes('on from')")
    await page.value("document.getElementById('rec-stop').click()")
    await page.until(f"{said}.startsWith('off')")
    await page.value("document.getElementById('take-name').value = 'evening'")
    await page.value("document.getElementById('rec-start').click()")
    await page.until(f"{said}.startsWith('on: evening')")
    await asyncio.sleep(0.5)
    await page.value("document.getElementById('rec-stop').click()")
    await page.until(f"{said}.startsWith('off')")
    await page.value("send({ want: { paused: true } })")
    await page.until("ringtrack.state === 'stale'")
    await page.value("state('connecting'), (opened = -3000)")  # as it is without a camera
    await page.until("document.getElementById('state').innerText.includes('no frame yet')")
    await page.value("want()")
    await page.until("ringtrack.state === 'live'")
    await page.value(DECODED_ONLY_AFTER_THE_CONNECTION_IS_LOST)
    await page.until("late.decoded")
    os.kill(run.pid("web"), signal.SIGKILL)
    await page.until("late.lost && ringtrack.state === 'live'")
    facts["diary"] = await page.value("document.getElementById('diary').innerText")
    await page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    await asyncio.sleep(0.4)
    facts["phone"] = await page.value("document.documentElement.scrollWidth")
    await page.screenshot("web-phone.png")
    return facts


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("web")
    lab, port = Laboratory(folder), free_port()
    lab.environment["RINGTRACK_KEYS"] = str(make_keys(folder / "keys"))
    address = f"http://127.0.0.1:{port}/"
    settings = lab.settings(
        camera={"width": 512, "height": 512, "fps": 60.0, "pixel_um": 0.1, "encrypt": True},
        tracking={"diameter": 11, "separation": 12, "minmass": 300.0, "max_ecc": 0.0},
        web={"enabled": True, "listen": f"127.0.0.1:{port}"},
    )
    source = "simulated?beads=40&frames=1000000"
    with lab.started(settings, "--source", source, "--fps", "60") as run, _browser(folder / "profile") as debugging:
        wait_until(lambda: run.published > 10, "frames")

        async def visit() -> dict[str, Any]:
            return await _look(await _page(debugging, address), run, address)

        facts = asyncio.run(visit())
        facts["metrics"] = _get(address + "metrics")
        facts["health"] = _get(address + "health")
        facts["accounting"] = _get(address + "api/accounting")
        facts["rebound"] = _get(address, Host="evil.example")
        facts["foreign"] = asyncio.run(_foreign(f"ws://127.0.0.1:{port}/socket"))
        facts["garbage"] = asyncio.run(_rude(f"ws://127.0.0.1:{port}/socket"))
        wait_until(lambda: run.rings.block("web").counters().get("viewers", 0) <= 1, "the strangers to be gone")
        with Sender(run.address) as stranger:
            wait_until(lambda: "camera.encrypt" in stranger.statistics.trouble, "the stranger to hear why")
            facts["stranger"] = stranger.statistics.trouble
            stranger.close(0.0)
        facts["ended"] = run.stop()
    return facts


async def _foreign(address: str) -> str:
    from tornado.httpclient import HTTPClientError, HTTPRequest

    try:
        await tornado.websocket.websocket_connect(HTTPRequest(address, headers={"Origin": "http://evil.example"}))
    except HTTPClientError as error:
        return str(error.code)
    return "let in"


async def _rude(address: str) -> list[str]:
    """A client that talks nonsense, never acknowledges, and at last sends more than there may be."""
    socket = await tornado.websocket.websocket_connect(address)
    await socket.write_message("no json")
    await socket.write_message(json.dumps({"ask": {"ask": "set", "v": 7}, "id": 1}))
    await socket.write_message(b"\x00\xff", binary=True)
    said: list[str] = []
    while len(said) < 3:
        message = await asyncio.wait_for(socket.read_message(), 10)
        if isinstance(message, str) and ("error" in message or "answer" in message):
            said.append(message)
    await socket.write_message("x" * 200_000)
    while (message := await asyncio.wait_for(socket.read_message(), 10)) is not None:
        pass
    return said


def test_the_browser_shows_frames_with_the_overlay_where_the_particles_are(story: dict[str, Any]) -> None:
    many, hits = story["bright"]
    assert many > 5
    assert hits >= 0.9 * many
    assert story["overlay"] > 20 * many
    assert story["shown"] > 1  # the rate is measured in perf: here the browser, too, has to share two cores
    assert "SIMULATED" in story["warning"]


def test_the_overlay_is_a_ring_about_each_particle_and_nothing_in_its_middle(story: dict[str, Any]) -> None:
    many, ring, middle = story["rings"]
    assert many > 5
    assert ring >= 0.95 * 4 * many
    assert middle <= 0.1 * many  # a neighbour's ring may go through it


def test_a_still_image_holds_its_settings_and_says_in_red_that_it_is_simulated(story: dict[str, Any]) -> None:
    picture = Image.open(io.BytesIO(story["still"]))
    picture.load()
    facts = json.loads(picture.info["ringtrack"])
    assert facts["settings"]["tracking"]["minmass"] == 300
    assert facts["pixel_um"] == 0.1
    assert facts["simulated"] is True
    colours = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.abs(colours[:30, :150] - (255, 77, 77)).sum(axis=2) < 90).sum() > 50
    bar = (colours[-46:] == 255).all(axis=2).sum(axis=1)
    assert bar.max() > 30  # the scale bar: a row of white


def test_the_page_keeps_a_diary_of_its_connection_and_counts_its_bytes(story: dict[str, Any]) -> None:
    lines = [line.partition(" ")[2] for line in reversed(story["diary"].splitlines())]
    assert lines[:3] == ["connecting", "connected", "live"]
    lost = lines.index("lost, trying again")
    assert lines[lost:].index("connecting") < lines[lost:].index("connected") < lines[lost:].index("live")
    assert story["received"] > 10_000
    assert story["rate"].endswith("B")


def test_the_record_button_makes_a_take_on_the_disk(story: dict[str, Any]) -> None:
    takes = story["ended"].record.takes
    (take,) = takes[takes["name"] == "evening"].itertuples()
    assert take.frames > 5
    frames = story["ended"].record.frames_table.set_index("frame")
    assert (frames.loc[take.first_frame : take.last_frame, "state"] == "tracked").all()
    assert frames.loc[take.first_frame - 1, "state"] == "paused"


def test_apply_and_undo_reach_the_data(story: dict[str, Any]) -> None:
    assert "version 3" in story["versions"]
    frames = story["ended"].record.frames_table
    assert frames.loc[frames["settings"] == 2, "rows"].max() == 0
    assert frames.loc[frames["settings"] == 3, "rows"].min() > 0
    assert "20 is even" in story["refusal"]


def test_who_watches_can_preview_values_and_change_nothing(story: dict[str, Any]) -> None:
    assert story["watcher"] == [False, False, True, True, True]


def test_a_switch_of_the_page_turns_a_format_off_and_says_what_cannot_be(story: dict[str, Any]) -> None:
    frames = story["ended"].record.frames_table
    switched = re.search(r"frame (\d+)", story["switched"])
    assert switched is not None
    number = int(switched[1])
    assert frames.set_index("frame").loc[number, "state"] == "paused"
    assert "record.csv = true" in story["no csv"]


def test_nothing_of_it_costs_a_frame(story: dict[str, Any]) -> None:
    assert story["ended"].summary["frames_lost"] == 0


def test_its_frames_travelled_encrypted_and_a_sender_without_keys_was_sent_away(story: dict[str, Any]) -> None:
    assert story["ended"].record.settings.camera.encrypt
    assert len(story["ended"].record.frames_table) > 100
    assert "give this sender its keys" in story["stranger"]


def test_a_phone_needs_no_sideways_scrolling(story: dict[str, Any]) -> None:
    assert story["phone"] <= 390


def test_machines_read_figures(story: dict[str, Any]) -> None:
    assert "ringtrack_tracked_frames_total" in story["metrics"][1]
    for name in (
        "frame_count", "track_count", "process_rate", "error_count", "mean_ms", "peak_ms", "queue_depth",
        "worker_utilisation", 'step_seconds{step="tracking",quantile="0.99"}',
    ):  # fmt: skip
        assert f"\nringtrack_{name} " in story["metrics"][1]
    assert json.loads(story["health"][1])["healthy"]
    assert json.loads(story["accounting"][1])["steps"][0]["step"] == "camera"


def test_strangers_are_refused(story: dict[str, Any]) -> None:
    assert story["foreign"] == "403"
    assert story["rebound"][0] == 403
    assert "not understood" in story["garbage"][0]
    assert "version 7" in "".join(story["garbage"])
