"""``python -m opensvc_openha.advise``: the same as ``openha advise``."""

from opensvc_openha.advise.main import main
from opensvc_openha.cli.main import run

run(main)
