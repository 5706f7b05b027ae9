"""`python -m opensvc_openha.verify.leases`."""

import sys

from opensvc_openha.verify.leases.main import main

sys.exit(main())
