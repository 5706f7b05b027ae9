"""A file system that a test fills."""

from __future__ import annotations

import subprocess
from pathlib import Path


class FullDisk:
    """A small file system of its own at a place, filled to the last byte."""

    def __init__(self, folder: Path, size: str = "512k") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs"]
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    def fill(self) -> None:
        """Not a byte is left."""
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        """There is room again."""
        (self.folder / "ballast").unlink()

    def close(self) -> None:
        """Takes it away."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)
