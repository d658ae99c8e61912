"""A port mapping as containers have it: a program that takes connections at one address and hands them on to another.

Run as ``python -I forwarder.py FROM_HOST FROM_PORT TO_HOST TO_PORT``; standard library only. A connection that the inside
refuses or closes is closed outside, too.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(host: str, port: int, to_host: str, to_port: int) -> None:
    """Hand on until killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection(to_host, to_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, outer), _copy(inner, writer))

    async with await asyncio.start_server(serve, host, port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
