"""A terminal that tests write to, and what stands on it in the end."""

import errno
import os
import pty
import threading
from typing import TextIO


class Terminal:
    """A pseudo-terminal; within ``with``, ``file`` is what programs write to, and afterwards ``shown`` the text.

    A thread reads all the time: a terminal that nobody reads is full after some kilobytes, and one read may
    return a part of what was written.
    """

    def __init__(self) -> None:
        self._leader, follower = pty.openpty()
        self.file: TextIO = os.fdopen(follower, "w", encoding="utf-8")
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Terminal":
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._reader.join(60)
        assert not self._reader.is_alive(), "a program still has the terminal open"
        os.close(self._leader)

    @property
    def shown(self) -> str:
        """All that was written, with line ends as programs write them."""
        return b"".join(self._pieces).decode().replace("\r\n", "\n")

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._leader, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return  # no program has the terminal open any more
            self._pieces.append(piece)
