"""Traps on the page: a real browser drags one, and the run has the command."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.system.running import free_port, wait_until
from tests.system.test_browser import CHROMIUM, Page, _browser, _page
from tests.system.test_closed_loop_run import caught, looping

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]
ON_SCREEN = """(() => { const t = ringtrack.light.traps.find(t => t.trap === %d), v = ringtrack.view,
  b = document.getElementById("view").getBoundingClientRect();
  return [b.left + v.panX + (t.x + .5) * v.zoom, b.top + v.panY + (t.y + .5) * v.zoom, v.zoom]; })()"""


async def drag(page: Page, trap: int, by_px: tuple[float, float]) -> None:
    """With the mouse, by so many pixels of the camera."""
    x, y, zoom = await page.value(ON_SCREEN % trap)
    for kind, share in (("mousePressed", 0.0), ("mouseMoved", 0.5), ("mouseMoved", 1.0), ("mouseReleased", 1.0)):
        await page.call(
            "Input.dispatchMouseEvent", type=kind, x=x + share * by_px[0] * zoom, y=y + share * by_px[1] * zoom,
            button="left", buttons=0 if kind == "mouseReleased" else 1, clickCount=1,
        )  # fmt: skip


def test_a_trap_that_is_dragged_on_the_picture_moves_with_its_bead(tmp_path: Path) -> None:
    port = free_port()
    web = {"enabled": True, "listen": f"127.0.0.1:{port}"}
    with looping(tmp_path, web=web) as (_, run, client), _browser(tmp_path / "profile") as debugging:
        caught(client.slm)
        before = client.slm.state()["traps"][0]
        client.slm.release([trap["trap"] for trap in client.slm.state()["traps"][1:]])  # the way is free

        async def visit() -> None:
            page = await _page(debugging, f"http://127.0.0.1:{port}/")
            await page.until("window.ringtrack && ringtrack.state === 'live' && ringtrack.light", 60)
            await page.until("ringtrack.light.traps.length === 1")
            view = await page.value("ringtrack.view.panX")
            await drag(page, before["trap"], (12.0, -9.0))
            x, y = before["x"] + 12, before["y"] - 9
            await page.until(f"Math.hypot(ringtrack.light.traps[0].x - {x}, ringtrack.light.traps[0].y - {y}) < 1.5")
            assert await page.value("ringtrack.view.panX") == view  # the picture stayed
            page._socket.close()
            while await page._socket.read_message() is not None:
                pass

        asyncio.run(visit())
        client.slm.wait()
        now = wait_until(lambda: client.slm.state()["traps"][0], "the state")
        assert (now["x"], now["y"]) == pytest.approx((before["x"] + 12, before["y"] - 9), abs=1.5)
        assert now["particle"] == before["particle"]
        ended = run.stop()
    moves = ended.record.events[ended.record.events["kind"] == "slm"]["json"]
    assert any('"order":"move"' in text.replace(" ", "") for text in moves)
