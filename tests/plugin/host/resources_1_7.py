"""A resource whose status is kept on disk without age limit, as in 1.6 and later."""

import os

from resources_1_5 import Resource as Plain


class Resource(Plain):
    """The kept status wins unless another one is asked for."""

    no_status = None

    def fpath_status_last(self):
        """The file."""
        return os.path.join(self.svc.var, "resource.status.last." + self.rid)

    def load_status_last(self):
        """The kept status."""
        try:
            with open(self.fpath_status_last()) as file:
                return int(file.read())
        except (OSError, IOError):
            return self.no_status

    def status(self, refresh=False):
        """The kept status, or else the present one, which is kept."""
        self.lines = []
        kept = self.load_status_last()
        if kept != self.no_status and not refresh:
            return kept
        found = self._status()
        with open(self.fpath_status_last(), "w") as file:
            file.write(str(found))
        return found
