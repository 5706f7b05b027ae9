"""What the launchers run, as ``python -I -S FILE COMMAND ...``: a script is compiled at each start.

So it only finds the package, of which the rest is loaded compiled.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 3)[0])
from opensvc_openha.lean.entry import console  # noqa: E402 - once it is found

del sys.path[0]
console()
