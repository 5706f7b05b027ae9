"""`python -m opensvc_openha.verify.random`."""

import sys

from opensvc_openha.verify.random.main import main

sys.exit(main())
