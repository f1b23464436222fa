"""The web process: the page, its socket, and figures for machines, all on one port.

It is a live reader of the rings and works only while somebody looks. Each frame is reduced and encoded once for each
size and quality that is wanted; a client has at most one picture under way and gets the next one after it said that it
has the last and draws it, and always the newest: a slow network sees fewer pictures, never old ones. Changes of
settings and remarks go through the control server, like anybody's.
"""

from __future__ import annotations

import asyncio
import errno
import json
from typing import TYPE_CHECKING

import tornado.httpserver
import tornado.netutil

from bridge.async_client import AsyncClient
from bridge.control import local_address
from bridge.web.access import Access, write_addresses
from bridge.web.studio import Studio
from bridge.web.visitors import LARGEST_MESSAGE, application
from engine.addresses import is_loopback, parse_address
from engine.shm.wakeup import LONGEST_S

if TYPE_CHECKING:
    from engine.process import Job

COUNTERS = ("viewers", "pictures", "bytes", "encoded", "requests", "refused", "encode_ns")


async def _serve(job: Job) -> None:
    listen = job.experiment.web.listen
    host, port = parse_address(listen, scheme="")
    access = Access.of_run(job.run_folder, open_to_others=not is_loopback(host))
    studio = Studio(job)
    async with AsyncClient(local_address(job.run_id)) as client:
        server = tornado.httpserver.HTTPServer(application(studio, access, job, client), max_body_size=LARGEST_MESSAGE)
        said = False
        while not job.stopping:
            try:
                sockets = tornado.netutil.bind_sockets(port, "" if host == "*" else host)
            except OSError as error:
                if not said:  # a page is no reason to end a run
                    said = True
                    job.log("warning", _unheard(listen, host, port, error))
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


def _unheard(listen: str, host: str, port: int, error: OSError) -> str:
    """Why there is no page, and what to do."""
    if error.errno != errno.EADDRINUSE:
        return f"web.listen: {listen} cannot be had: {error.strerror or error}"
    return (
        f"web.listen: {listen} is in use, by another run's page or another program; it is tried again. Stop that one "
        f"(ringtrack status), or choose another port for the next run: --set web.listen={host}:{port + 10}"
    )


def _announce(job: Job, host: str, port: int, access: Access) -> None:
    """In the log, which others may read: without the tokens."""
    address = write_addresses(job.run_folder, host, port, access)
    job.log("info", f"the page is at {address}" + (" (addresses with tokens: web.json)" if access.operate else ""))


def main(job: Job) -> None:
    """Serve until told to stop."""
    asyncio.run(_serve(job))
