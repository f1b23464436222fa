"""What comes over the control socket and the page's door, without sockets: understood, or refused with the reason."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from bridge import control_wire as wire
from bridge.async_client import AsyncClient
from bridge.calls import record_request
from bridge.client import Client
from bridge.connection import packed
from bridge.looking import over_limit, reduced, step_for
from bridge.web.access import Access, Right, same_origin
from bridge.web.studio import as_json
from engine.errors import ClosedError, PeerError, SettingsError
from engine.experiment import Experiment, Lab
from engine.rows import ROW
from engine.settings import changed


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"ask": "fly"}, "there is no request 'fly'. There are: hello, settings"),
        ({"ask": "metric"}, "did you mean 'metrics'?"),
        ({"ask": 3}, "there is no request 3"),
        (
            {"ask": "latest", "most_px": "wide"},
            "latest: most_px = 'wide' is not allowed; it must be a whole",
        ),
        ({"ask": "latest", "most_px": -1}, "most_px = -1 is not allowed; it must be a whole number, at least 0"),
        ({"ask": "latest", "image": "yes"}, "image = 'yes' is not allowed; it must be true or false"),
        (
            {"ask": "latest", "region": [1, 2]},
            "region = [1, 2] is not allowed; it must be 4 times a whole",
        ),
        ({"ask": "latest", "more": 1}, "there is no field 'more'. It has: image, most_px, region"),
        ({"ask": "mark", "txt": "x"}, "there is no field 'txt'; did you mean 'text'? It has: text. mark: the field"),
        ({"ask": "results", "wait_s": 1e9}, "wait_s = 1000000000.0 is not allowed; it must be a number, at least 0"),
        ({"ask": "results", "after": -2}, "after = -2 is not allowed"),
        ({"ask": "save_stack", "name": "abc\n"}, "it must be 1 to 60 of A-Z, a-z, 0-9, _ and -"),
        ({"ask": "save_stack", "name": "../abc"}, "it must be 1 to 60 of A-Z, a-z, 0-9, _ and -"),
        ({"ask": "record", "action": "begin"}, "action = 'begin' is not allowed; it must be one of 'crops', 'pause'"),
        ({"ask": "record", "action": "start", "name": "a\x1b[2J"}, "it must be text of one line, at most 60 letters"),
        ({"ask": "storage", "values": {}}, "it must be a map of names to true or false, not empty"),
        ({"ask": "set"}, "set: the field 'values' is missing; it must be a map"),
        ({"ask": "set", "values": "x" * 500}, "x…"),
        ({}, "this one has no `ask`. There are: hello"),
        ([1, 2], "a request is a map, this is a list"),
        (b"", "a request is msgpack, and this is not"),
        (b"\x91" * 5000, "a request is msgpack, and this is not"),
    ],
)
def test_what_is_not_understood_is_refused_in_our_own_words(message: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        wire.decode_request(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("message", [{"ask": "hello", "v": 2}, {"ask": "fly", "v": 2}, {"v": 2}])
def test_another_version_is_said_before_all_else(message: dict[str, Any]) -> None:
    with pytest.raises(wire.OtherVersionError, match="version 2 of the control protocol; this server speaks 1"):
        wire.decode_request(msgspec.msgpack.encode(message))
    with pytest.raises(wire.OtherVersionError, match="the server speaks version 2"):
        wire.decode_answer([msgspec.msgpack.encode(wire.Answer(v=2))])


def test_the_client_for_asyncio_has_the_calls_of_the_other() -> None:
    calls = {name for name in dir(Client) if not name.startswith("_")}
    assert calls - set(dir(AsyncClient)) == {"close"}
    assert {"results", "upload_image", "slm", "get_latest_image"} < calls


@pytest.mark.parametrize("address", ["127.0.0.1:50053", "hello", "http://127.0.0.1:8766", "tcp://127.0.0.1"])
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    with Client(address, timeout_s=1) as client, pytest.raises(SettingsError, match="must be tcp://host:port"):
        client.hello()


@pytest.mark.parametrize(("address", "hinted"), [("tcp://10.255.255.1:9", True), ("tcp://127.0.0.1:9", False)])
def test_who_is_not_answered_from_afar_is_told_of_keys(address: str, hinted: bool) -> None:
    with (
        Client(address, timeout_s=0.01) as client,
        pytest.raises(PeerError, match="has not answered 'hello'") as caught,
    ):
        client.hello()
    assert ("made by `ringtrack keys`" in str(caught.value)) == hinted


@pytest.mark.parametrize(
    ("value", "said"), [(None, "nothing is not allowed"), (b"4", "bytes are not allowed"), ({}, "a table is not")]
)
def test_values_that_only_come_over_the_network_are_named_as_what_they_are(value: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"tracking.minmass: {said}"):
        changed(Experiment(), {"tracking.minmass": value})


def test_numbers_of_numpy_are_sent_as_numbers() -> None:
    request = wire.SetSettings(values={"tracking.minmass": np.float64(2500), "tracking.diameter": np.int64(17)})
    decoded = wire.decode_request(packed(request))
    assert isinstance(decoded, wire.SetSettings)
    assert decoded.values == {"tracking.minmass": 2500.0, "tracking.diameter": 17}
    with pytest.raises(SettingsError, match="cannot be sent"):
        packed(wire.SetSettings(values={"tracking.minmass": object()}))


def test_what_is_no_number_is_null_for_the_page() -> None:
    content = {"p50": float("nan"), "more": [1.5, float("inf"), {"text": "NaN"}]}
    assert json.loads(as_json(content)) == {"p50": None, "more": [1.5, None, {"text": "NaN"}]}


def test_tables_and_pictures_come_back_as_they_went() -> None:
    arrays = {"rows": np.zeros(3, ROW), "pixels": np.arange(12, dtype=np.uint16).reshape(3, 4)}
    arrays["rows"]["x"] = [1.5, 2.5, 3.5]
    answer = wire.Answer(arrays=[wire.described(name, array) for name, array in arrays.items()])
    _, back = wire.decode_answer([msgspec.msgpack.encode(answer), *(a.tobytes() for a in arrays.values())])
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("dtype", ["O", "no such type"])
def test_arrays_of_objects_are_not_taken(dtype: str) -> None:
    answer = wire.Answer(arrays=[wire.ArrayPart("rows", dtype, (1,))])
    with pytest.raises(PeerError):
        wire.decode_answer([msgspec.msgpack.encode(answer), b"12345678"])


def test_a_reduced_picture_has_means_and_fits() -> None:
    pixels = np.arange(100, dtype=np.uint16).reshape(10, 10)
    assert step_for((10, 10), 4) == 3
    small = reduced(pixels, 3)
    assert small.shape == (3, 3)
    assert small[0, 0] == pixels[:3, :3].mean()


@pytest.mark.parametrize("step", [17, 500])
def test_a_picture_of_few_pixels_is_made_at_once_and_its_sums_do_not_overflow(step: int) -> None:
    pixels = np.full((1000, 1000), 65535, np.uint16)
    pixels[:step, :step] = 7
    pixels[step - 1, step - 1] = 65535
    began = time.process_time()
    small, over = reduced(pixels, step), over_limit(pixels, 65535, step)
    assert time.process_time() - began < 1.0, "a slice for each pixel of a square takes seconds"
    assert small.shape == (1000 // step,) * 2
    assert small[0, 0] == pixels[:step, :step].mean(dtype=float) // 1
    assert small[-1, -1] == 65535
    assert over.tolist() == list(range(small.size))
    assert over_limit(pixels[: 2 * step, : 2 * step] // 2, 65535 // 2, step).tolist() == [0, 1, 2, 3]
    assert 0 not in over_limit(np.where(pixels == 7, 7, 9)[: step - 1, : step - 1], 9, step - 1)


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "results", "wait_s": float("nan")},
        {"ask": "trace", "seconds": float("nan")},
        {"ask": "record", "action": "start", "for_s": float("nan")},
        {"ask": "slm", "order": "trap", "values": {"x": 1.0, "y": 1.0, "intensity": float("nan")}},
        {"ask": "slm", "order": "rotate", "values": {"angle_deg": float("inf")}},
        {"ask": "slm", "order": "move", "values": {"to": {"0": [1.0, float("nan")]}}},
    ],
)
def test_what_is_no_number_passes_no_limit(message: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is not allowed"):
        wire.decode_request(msgspec.msgpack.encode(message))


def test_a_wrong_take_is_refused_in_our_own_words_before_it_is_sent() -> None:
    with pytest.raises(SettingsError, match=r"record: action = 'begin' is not allowed; it must be one of 'crops'"):
        record_request("begin", "", 0, 0)
    with pytest.raises(SettingsError, match=r"name = 'xxx.* it must be text of one line, at most 60 letters"):
        record_request("start", "x" * 61, 0, 0)
    assert record_request("start", "evening", 1, 2).before_s == 1


def test_the_client_for_asyncio_says_that_it_is_not_open() -> None:
    client = AsyncClient("tcp://127.0.0.1:9")

    async def once() -> None:
        async with client:
            pass

    for _ in range(2):  # before, and after
        with pytest.raises(ClosedError, match="async with"):
            asyncio.run(client.metrics())
        asyncio.run(once())


def test_a_change_is_checked_like_the_file_and_names_all_faults() -> None:
    with pytest.raises(SettingsError) as caught:
        changed(Experiment(), {"tracking.diameter": 20, "tracking.minmas": 3, "linking.memory": -1})
    for said in ("20 is even", "Nearest: tracking.minmass", "linking.memory"):
        assert said in str(caught.value)
    assert changed(Experiment(), {"tracking.minmass": "250"}).tracking.minmass == 250


def test_what_the_laboratory_protects_stays() -> None:
    experiment = Experiment(lab=Lab(protect=("tracking.*",)))
    with pytest.raises(SettingsError, match="protected by the laboratory"):
        changed(experiment, {"tracking.minmass": 3})


def test_tokens_open_what_they_are_for() -> None:
    access = Access.new(open_to_others=True)
    assert access.right("") is Right.NOTHING
    assert access.right("é" * 5) is Right.NOTHING
    assert access.right(access.watch) is Right.WATCH
    assert access.right(access.operate) is Right.OPERATE
    assert Access.new(open_to_others=False).right("") is Right.OPERATE


def test_pages_of_strangers_are_no_origin_of_ours() -> None:
    assert same_origin("http://127.0.0.1:8766", "127.0.0.1:8766")
    assert not same_origin("http://evil.example", "127.0.0.1:8766")
    assert not Access().knows_host("evil.example:8766")
    assert Access().knows_host("localhost:8766")
