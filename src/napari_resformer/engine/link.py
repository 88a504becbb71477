"""Messages over a connection between two processes."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

Head = tuple[Any, ...]

HERE = "napari-resformer worker "
"""What the line begins with in which a new worker says its address; start-up scripts may print others before."""


@dataclass(frozen=True)
class Part:
    """Memory that is sent as it is: its size, and the pieces that it is made of, each made when its turn comes."""

    nbytes: int
    pieces: Iterable[memoryview]


@dataclass(frozen=True)
class Parcel:
    """A value in bytes.

    Parameters
    ----------
    body : bytes
        A pickle.
    parts : sequence of Part
        Memory beside it, when it is sent.
    buffers : sequence of bytearray
        The same, once received.
    """

    body: bytes = b""
    parts: Sequence[Part] = ()
    buffers: Sequence[bytearray] = ()


EMPTY = Parcel()


class Link:
    """Sends and receives messages; any thread may send, one receives and never sends, so that both ends always empty their pipe.

    Parameters
    ----------
    connection : Connection
        Of an authenticated peer, which is trusted.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._ending = threading.Lock()  # so that no other file with the same number is shut down
        self._closed = False
        self._raw: socket.socket | None = None
        if sys.platform != "win32":
            # The same socket: a connection reads into memory of its own, which costs two more copies and half the speed.
            self._raw = socket.socket(fileno=os.dup(connection.fileno()))
            self._raw.settimeout(None)

    def send(self, head: Head, parcel: Parcel = EMPTY) -> None:
        """Send a message; wait until it is on its way.

        Parameters
        ----------
        head : tuple
            Numbers and words: what the message is and whom it concerns.
        parcel : Parcel
            Its content.

        Raises
        ------
        OSError
            If nobody is there any more.
        """
        first = pickle.dumps((head, parcel.body, [part.nbytes for part in parcel.parts]), protocol=5)
        with self._sending:
            if self._closed:
                raise BrokenPipeError("the connection is closed")
            try:
                self._connection.send_bytes(first)
                for part in parcel.parts:
                    for piece in part.pieces:
                        self._send(piece)
            except BaseException:
                self.shutdown()  # the other side waits for the rest of this message
                raise

    def receive(self) -> tuple[Head, Parcel]:
        """Wait for a message.

        Raises
        ------
        EOFError
            If nobody is there any more.
        """
        try:
            head, body, sizes = pickle.loads(self._connection.recv_bytes())
            buffers = [bytearray(size) for size in sizes]
            for buffer in buffers:
                self._receive(memoryview(buffer))
        except OSError as error:
            raise EOFError(str(error)) from error
        return head, Parcel(body, (), buffers)

    def shutdown(self) -> None:
        """Let go all who wait here; on Windows they wait for the end of the other process."""
        if self._raw is not None:
            with self._ending, suppress(OSError):  # it was shut down before, or the other side is gone
                self._raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; called by the one who receives, when there is nothing more to."""
        self.shutdown()
        with self._sending:
            self._closed = True
            self._connection.close()
            if self._raw is not None:
                with self._ending:
                    self._raw.close()

    def _send(self, piece: memoryview) -> None:
        if self._raw is not None:
            self._raw.sendall(piece)
        else:
            self._connection.send_bytes(piece)

    def _receive(self, memory: memoryview) -> None:
        place = 0
        while place < len(memory):
            if self._raw is not None:
                count = self._raw.recv_into(memory[place:])
            else:
                count = self._connection.recv_bytes_into(memory[place:])
            if not count:
                raise EOFError("the connection ended within a message")
            place += count
