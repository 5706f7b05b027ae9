"""A resource without a cache, as in 1.5."""

import logging


class Resource(object):
    """What every driver derives from."""

    def __init__(self, rid=None, type=None, **kwargs):
        self.rid = rid
        self.type = type
        self.disabled = False
        self.lines = []
        self.log = logging.getLogger(str(rid))

    def status_log(self, text):
        """A line under the status."""
        self.lines.append(text)

    def vcall(self, cmd):
        """Runs a command; exit code, output, errors."""
        import subprocess

        process = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        return process.returncode, out, err

    def status(self, refresh=False):
        """The status now."""
        self.lines = []
        return self._status()
