"""``python -m opensvc_openha.whatif``: the same as ``openha whatif``."""

from opensvc_openha.cli.main import run
from opensvc_openha.whatif.main import main

run(main)
