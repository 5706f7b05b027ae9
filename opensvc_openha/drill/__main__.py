"""``python -m opensvc_openha.drill``: the same as ``openha drill``."""

from opensvc_openha.cli.main import run
from opensvc_openha.drill.main import main

run(main)
