"""The page where others could reach it, over real sockets: no token, no picture; the watch token only looks."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from bridge import control_wire
from bridge.web.access import FILE, Access, Right, hosts, page_lines, same_origin, write_addresses
from bridge.web.visitors import LARGEST_MESSAGE, WATCHERS_MAY, application
from engine.experiment import Experiment

WIDE = Access.new(open_to_others=True)


class Control:
    """The control server's place: notes what reaches it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, request: Any) -> Any:
        self.asked.append(type(request).__name__)
        return {"done": True}, {}


class Served:
    """A page with no run behind it; `get` and `look` come as a browser on another computer would."""

    def __init__(self, port: int, control: Control, counted: dict[str, int]) -> None:
        self.port, self.control, self.counted = port, control, counted

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = HTTPRequest(f"http://127.0.0.1:{self.port}/{path}", headers=headers)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        return answer.code, answer.body.decode()

    async def look(self, token: str = "", **headers: str) -> Any:
        """A web socket, or the status that refused it."""
        address = f"ws://127.0.0.1:{self.port}/socket?token={token}"
        try:
            return await tornado.websocket.websocket_connect(HTTPRequest(address, headers=headers))
        except HTTPClientError as error:
            return error.code


@asynccontextmanager
async def _page(access: Access) -> AsyncIterator[Served]:
    counted: dict[str, int] = {}
    job: Any = SimpleNamespace(
        run_id="ab" * 8, run_folder=Path("/nowhere"), experiment=Experiment(),
        plan=SimpleNamespace(processes=(), of_kind=lambda kind: []),
        status=SimpleNamespace(
            count=lambda name, n=1: counted.update({name: counted.get(name, 0) + n}), set=counted.__setitem__
        ),
    )  # fmt: skip
    studio: Any = SimpleNamespace(viewers=set(), figures=SimpleNamespace(metrics=lambda: {"frame_count": 7}))
    control: Any = Control()
    server = tornado.httpserver.HTTPServer(application(studio, access, job, control))
    (listening,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([listening])
    try:
        yield Served(listening.getsockname()[1], control, counted)
    finally:
        server.stop()
        await server.close_all_connections()
        await asyncio.sleep(0)


def _visit(story: Callable[[Served], Awaitable[None]], access: Access = WIDE) -> None:
    async def told() -> None:
        async with _page(access) as page:
            await asyncio.wait_for(story(page), 20)

    asyncio.run(told())


async def _ask(socket: Any, what: dict[str, Any]) -> dict[str, Any]:
    await socket.write_message(json.dumps({"ask": {"v": 1, **what}, "id": 5}))
    while True:
        message = json.loads(await socket.read_message())
        if message.get("id") == 5:
            answer: dict[str, Any] = message["answer"]
            return answer


def test_without_a_token_nothing_is_shown() -> None:
    async def story(page: Served) -> None:
        for path in ("", "metrics", "health", "api/metrics", "api/log", "?token=guess", f"?token={WIDE.watch}x"):
            status, said = await page.get(path)
            assert status == 403, path
            assert "`ringtrack run` printed" in said, "the log has no tokens"
            assert "<html" not in said
        assert await page.look() == 403
        assert await page.look("guess") == 403
        assert page.counted["refused"] == 9
        for token in (WIDE.watch, WIDE.operate):
            status, said = await page.get(f"?token={token}")
            assert (status, "<html" in said) == (200, True)
        assert (await page.get("api/metrics", Authorization=f"Bearer {WIDE.watch}"))[0] == 200

    _visit(story)


def test_the_watch_token_looks_and_the_operate_token_operates() -> None:
    requests = {kind.__struct_config__.tag: kind for kind in get_args(control_wire.AnyRequest)}
    changing = {"set", "undo", "record", "storage", "mark", "stop", "slm", "save_stack", "trace"}
    assert changing <= set(requests)

    async def story(page: Served) -> None:
        watcher = await page.look(WIDE.watch)
        hello = json.loads(await watcher.read_message())["hello"]
        assert hello["may_operate"] is False
        for name in [*(set(requests) - WATCHERS_MAY), ["settings"], None]:
            assert "operate token" in (await _ask(watcher, {"ask": name}))["error"], name
        assert page.control.asked == []
        assert (await _ask(watcher, {"ask": "settings"})) == {"done": True}
        operator = await page.look(WIDE.operate)
        assert json.loads(await operator.read_message())["hello"]["may_operate"] is True
        assert await _ask(operator, {"ask": "set", "values": {"tracking.minmass": 400}}) == {"done": True}
        assert page.control.asked == ["GetSettings", "SetSettings"]
        for socket in (watcher, operator):
            socket.close()
            assert await socket.read_message() is None

    assert not changing & WATCHERS_MAY
    _visit(story)


def test_a_page_from_elsewhere_is_refused_with_the_right_token_too() -> None:
    async def story(page: Served) -> None:
        assert await page.look(WIDE.operate, Origin="http://evil.example") == 403
        own = await page.look(WIDE.operate, Origin=f"http://127.0.0.1:{page.port}")
        assert json.loads(await own.read_message())["hello"]
        own.close()
        assert await own.read_message() is None

    _visit(story)
    assert same_origin(None, "tracking-pc:8766")
    assert not same_origin("null", "tracking-pc:8766")


def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async def story(page: Served) -> None:
        socket = await page.look(WIDE.watch)
        await socket.read_message()
        await socket.write_message("x" * (LARGEST_MESSAGE + 1))
        assert await socket.read_message() is None
        assert (await page.get(f"?token={WIDE.watch}"))[0] == 200

    _visit(story)


def test_a_message_that_is_not_understood_is_refused_in_our_own_words_and_the_page_goes_on() -> None:
    async def story(page: Served) -> None:
        socket = await page.look(WIDE.operate)
        await socket.read_message()
        for message in ("no json", '{"seen": "many"}', '{"ask": {"x": ' + "[" * 30_000 + "]" * 30_000 + "}}"):
            await socket.write_message(message)
            said = json.loads(await socket.read_message())["error"]
            assert said.startswith("not understood: a message is JSON, one of {"), message[:20]
        assert "64 bits" in (await _ask(socket, {"ask": "mark", "text": 10**30}))["error"]
        assert page.counted["refused"] == 3
        assert await _ask(socket, {"ask": "settings"}) == {"done": True}
        socket.close()
        assert await socket.read_message() is None

    _visit(story)


def test_on_loopback_no_token_is_needed_but_a_foreign_name_is_refused() -> None:
    async def story(page: Served) -> None:
        assert (await page.get(""))[0] == 200
        status, said = await page.get("", Host="evil.example")  # a stranger's name that leads here
        assert (status, "open it as http://127.0.0.1" in said) == (403, True)
        assert await page.look(Origin="http://evil.example") == 403

    _visit(story, Access.new(open_to_others=False))
    here = Access.new(open_to_others=False)
    known = ["localhost:8766", "127.0.0.1:8766", "127.0.0.2:8766", "[::1]:8766", "evil.example", "10.0.0.1", "[", ""]
    assert [here.knows_host(host) for host in known] == [True] * 4 + [False] * 4
    assert not same_origin("http://[", "[")


def test_the_addresses_with_tokens_are_for_their_user_and_outlive_the_process(tmp_path: Path) -> None:
    first = Access.of_run(tmp_path, open_to_others=True)
    assert page_lines(tmp_path) == []
    address = write_addresses(tmp_path, "0.0.0.0", 8766, first)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert "localhost" not in address  # others must find it
    assert first.watch not in address
    watch, operate, *also = page_lines(tmp_path)
    assert watch.endswith(f"{address}?token={first.watch}")
    assert operate.endswith(f"{address}?token={first.operate}")
    assert len(also) == (len(hosts("0.0.0.0")) > 1)
    again = Access.of_run(tmp_path, open_to_others=True)
    assert again == first
    assert [again.right(token) for token in (first.watch, first.operate, "")] == [
        Right.WATCH, Right.OPERATE, Right.NOTHING,
    ]  # fmt: skip
    (tmp_path / FILE).write_text("{")
    assert Access.of_run(tmp_path, open_to_others=True) != first
    assert page_lines(tmp_path) == []


@pytest.mark.parametrize(("listen", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("lab-pc", "lab-pc")])
def test_a_page_on_one_address_is_named_by_it(listen: str, shown: str, tmp_path: Path) -> None:
    write_addresses(tmp_path, listen, 80, Access())
    assert page_lines(tmp_path) == [f"the page: http://{shown}:80/"]
