"""`python -m opensvc_openha.sim`."""

import sys

from opensvc_openha.sim.main import main

sys.exit(main())
