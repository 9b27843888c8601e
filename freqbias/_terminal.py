"""Where progress bars are drawn."""

import io
from typing import Any, TextIO


class Terminal:
    """A stream, for as long as it can be written to: a bar that fails to write keeps its lock."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Writes, or gives up for good."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone, or the stream closed
            self._stream = io.StringIO()

    def flush(self) -> None:
        """What is written is flushed."""
