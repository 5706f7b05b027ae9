"""Where the agents up to 1.7 keep their files."""

import os


class rcEnv(object):
    """Paths as class attributes."""

    nodename = os.uname()[1].lower()
    pathetc = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "etc")
