"""``python -m opensvc_openha.demo``: the same as ``openha-demo`` and ``openha demo``."""

from opensvc_openha.demo.main import console

console()
