"""Which of SAM's masks in the shared store a search has found, so that `gc` leaves them: `<run>/tune/masks.jsonl`.

Nothing here needs torch, whose import would cost `goodsam gc` seconds.
"""

from __future__ import annotations

from pathlib import Path

from stages.json_lines import append_line, read_lines

MASKS_FILE = "masks.jsonl"


class MaskEntries:
    """Where the masks of a search lie in the store: (fingerprint, entry) of each panorama."""

    def __init__(self, file: Path) -> None:
        """Read what is there.

        Args:
            file: need not be there; lines that are damaged are left out.
        """
        self._file = file
        self.known = {(str(line["fingerprint"]), str(line["entry"])) for line in read_lines(file)
                      if line.keys() >= {"fingerprint", "entry"}}  # fmt: skip

    def add(self, fingerprint: str, entry: str) -> None:
        """Write one down.

        Raises:
            CacheError: the file cannot be written.
        """
        if (fingerprint, entry) not in self.known:
            append_line(self._file, {"fingerprint": fingerprint, "entry": entry})
            self.known.add((fingerprint, entry))
