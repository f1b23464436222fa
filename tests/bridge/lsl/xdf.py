"""A small writer of XDF files, by the published format: what LabRecorder would have written.

Run as a program it is the other side of the laboratory: `python xdf.py PREFIX COUNT FILE` records COUNT streams whose
names begin with PREFIX until its standard input ends. It prints "ready" once it listens to all of them.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO


def write_chunk(file: BinaryIO, tag: int, content: bytes) -> None:
    """A chunk: number of length bytes, length of tag and content, tag, content."""
    file.write(b"\x08" + struct.pack("<QH", len(content) + 2, tag) + content)


class XdfWriter:
    """Streams by number, each with its header, samples and footer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(b"XDF:")
        write_chunk(self._file, 1, b'<?xml version="1.0"?><info><version>1.0</version></info>')
        self._counts: dict[int, list[float]] = {}

    def stream(self, number: int, xml: str) -> None:
        write_chunk(self._file, 2, struct.pack("<I", number) + xml.encode())
        self._counts[number] = []

    def samples(self, number: int, stamps: Any, samples: Any) -> None:
        """Samples of a numeric stream (lists of float64) or of markers (lists of one text)."""
        content = struct.pack("<IBQ", number, 8, len(stamps))
        for stamp, sample in zip(stamps, samples):
            content += struct.pack("<Bd", 8, stamp)
            for value in sample:
                if isinstance(value, str):
                    text = value.encode()
                    content += struct.pack("<BQ", 8, len(text)) + text
                else:
                    content += struct.pack("<d", value)
        write_chunk(self._file, 3, content)
        self._counts[number] += list(stamps)

    def offset(self, number: int, at: float, offset: float) -> None:
        write_chunk(self._file, 4, struct.pack("<Idd", number, at, offset))

    def close(self) -> None:
        for number, stamps in self._counts.items():
            first, last = (stamps[0], stamps[-1]) if stamps else (0.0, 0.0)
            xml = (
                f"<info><first_timestamp>{first!r}</first_timestamp><last_timestamp>{last!r}</last_timestamp>"
                f"<sample_count>{len(stamps)}</sample_count></info>"
            )
            write_chunk(self._file, 6, struct.pack("<I", number) + xml.encode())
        self._file.close()


def record(prefix: str, count: int, path: Path) -> None:
    """Record until standard input ends; beside the file, the delay of every sample: `FILE.json`."""
    import pylsl

    resolver = pylsl.ContinuousResolver(pred=f"starts-with(name,'{prefix}')")
    infos: dict[str, Any] = {}
    while len(infos) < count:
        infos |= {info.name(): info for info in resolver.results()}
        threading.Event().wait(0.02)
    names = sorted(infos)
    inlets = {name: pylsl.StreamInlet(infos[name], max_buflen=360, recover=True) for name in names}
    writer = XdfWriter(path)
    for number, name in enumerate(names, 1):
        writer.stream(number, inlets[name].info(timeout=10).as_xml())
        inlets[name].open_stream(timeout=10)
        writer.offset(number, pylsl.local_clock(), inlets[name].time_correction(timeout=10))
    print("ready", flush=True)
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    delays: dict[str, list[float]] = {name: [] for name in names}
    idle = 0
    while idle < 30:
        idle = idle + 1 if stopped.is_set() else 0
        for number, name in enumerate(names, 1):
            try:
                samples, stamps = inlets[name].pull_chunk(timeout=0.0, max_samples=4096)
            except pylsl.util.LostError:
                continue
            now = pylsl.local_clock()
            if len(stamps):
                writer.samples(number, stamps, samples)
                delays[name] += [now - stamp for stamp in stamps]
                idle = 0
        threading.Event().wait(0.002)
    writer.close()
    path.with_suffix(".json").write_text(json.dumps(delays))


if __name__ == "__main__":
    record(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
