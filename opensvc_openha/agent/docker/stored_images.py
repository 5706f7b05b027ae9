"""Read from files which images a stopped docker daemon has, and where others come from."""

from __future__ import annotations

import glob
import json
import os

_BYTES_MAX = 16 * 1024 * 1024
_HUB = "docker.io"


def has_stored_image(data_dir: str, name: str) -> bool | None:
    """Return whether an image of that name is in a data directory.

    None if its files do not show that: images of newer docker versions are in a database.
    """
    try:
        if not os.listdir(data_dir):
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return None
    lists = glob.glob(f"{glob.escape(data_dir)}/image/*/repositories.json")
    names: set[str] = set()
    for path in lists:
        try:
            with open(path, encoding="utf-8") as file:
                found = json.loads(file.read(_BYTES_MAX))["Repositories"]
            names.update(each for tags in found.values() for each in tags)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None
    if not lists:
        return None
    wanted = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    if wanted in names:
        return True
    # An image by its id may be there without a name.
    return None if ":" not in name and "/" not in name and len(name) >= 12 else False


def registry_of(image: str) -> str:
    """Return the registry that an image of this name is pulled from."""
    host, separator, _ = image.partition("/")
    is_host = separator and ("." in host or ":" in host or host == "localhost")
    return host if is_host else _HUB
