"""``python -m opensvc_openha``: the same as the ``openha`` command."""

from opensvc_openha.cli.main import console

if __name__ == "__main__":
    console()
