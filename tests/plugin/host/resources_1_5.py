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

    def action_main(self, action):
        """A dry run is a line in the log."""
        if self.svc.options.dry_run:
            self.log.info("%s %s" % (action, self.rid))
            return
        getattr(self, action)()

    def status(self, refresh=False):
        """The status now."""
        self.lines = []
        return self._status()
