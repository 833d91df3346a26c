"""The servers to compare with: one that does nothing, one that only decodes. Prints its port.

``/empty`` answers and reads nothing; ``/decode`` reads the body into fixes and forgets them. Both
on aiohttp, as ``proximity serve`` is, so that what differs is what the engine does.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec
from aiohttp import web

from proximity import Fix

_fixes = msgspec.json.Decoder(list[Fix])


async def empty(_: web.Request) -> web.Response:
    return web.Response(status=202)


async def decode(request: web.Request) -> web.Response:
    _fixes.decode(await request.read())
    return web.Response(status=202)


async def main() -> None:
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/empty", empty)
    app.router.add_post("/decode", decode)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    bound = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, bound).start()
    print(bound.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
