#!/usr/bin/env python3
"""A TCP relay that can be told to misbehave. It stands in for a bad network where the kernel has no netem.

    relay_process.py SEED NAME=LISTEN_PORT:TARGET_PORT...

Reads one JSON command a line from standard input and answers each with a line once it is in force:

    {"link": NAME, "delay": 0.1}          every piece waits this many seconds, in both directions
    {"link": NAME, "loss": 0.02}          this share of pieces vanishes; TLS notices
    {"link": NAME, "holds": true}         nothing passes, connections stay
    {"link": NAME, "reset": true}         every connection is reset
    {"link": NAME, "forgets": true}       nothing passes any more on the connections of now, as behind a
                                          firewall that was restarted; new ones work. Nothing heals that
    {"link": NAME, "half_close": "up"}    connections end in one direction and go on in the other
    {"link": NAME, "heal": true}          none of it any more; connections that lost something are reset
"""

import asyncio
import json
import random
import socket
import struct
import sys

PIECE_BYTES = 16 << 10


class Connection:
    def __init__(self, below, above):
        # Stream writers towards the client and towards the server.
        self.below, self.above = below, above
        self.is_damaged = False
        self.closed = set()

    def reset(self):
        for writer in (self.below, self.above):
            end = writer.get_extra_info("socket")
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            writer.transport.abort()

    def half_close(self, direction):
        """What comes in this direction is thrown away from now on, and its target sees the end."""
        self.closed.add(direction)
        self.is_damaged = True
        writer = self.above if direction == "up" else self.below
        try:
            # A transport that sends nothing any more; TLS over it sees an end without a farewell.
            writer.write_eof()
        except (OSError, RuntimeError):
            pass


class Link:
    def __init__(self, chance, target_port):
        self.chance = chance
        self.target_port = target_port
        self.connections = set()
        self.open = asyncio.Event()
        self.heal()

    def heal(self):
        self.delay = self.loss = 0.0
        self.open.set()
        for connection in list(self.connections):
            if connection.is_damaged:
                connection.reset()

    def obey(self, command):
        if command.get("heal"):
            self.heal()
        self.delay = command.get("delay", self.delay)
        self.loss = command.get("loss", self.loss)
        if "holds" in command:
            self.open.clear() if command["holds"] else self.open.set()
        for connection in list(self.connections):
            if command.get("reset"):
                connection.reset()
            if command.get("forgets"):
                connection.closed |= {"up", "down"}
            if "half_close" in command:
                connection.half_close(command["half_close"])

    async def accept(self, reader, writer):
        try:
            above_reader, above = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(writer, above)
        self.connections.add(connection)
        try:
            await asyncio.gather(
                self.carry(connection, "up", reader, above),
                self.carry(connection, "down", above_reader, writer))
        finally:
            self.connections.discard(connection)
            for end in (writer, above):
                end.close()

    async def carry(self, connection, direction, reader, writer):
        try:
            while piece := await reader.read(PIECE_BYTES):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self.open.wait()
                if direction in connection.closed:
                    continue
                if self.loss and self.chance.random() < self.loss:
                    connection.is_damaged = True
                    continue
                writer.write(piece)
                await writer.drain()
            if direction not in connection.closed:
                writer.write_eof()
        except (OSError, RuntimeError):
            for end in (connection.below, connection.above):
                end.transport.abort()


async def serve(seed, descriptions):
    chance = random.Random(seed)
    links = {}
    for description in descriptions:
        name, ports = description.split("=")
        listen_port, target_port = map(int, ports.split(":"))
        links[name] = Link(chance, target_port)
        await asyncio.start_server(links[name].accept, "0.0.0.0", listen_port)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        links[command["link"]].obey(command)
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
