"""Serves one service of the minimal agent 2.1: requests on stdin, answers on stdout, one JSON object a line each."""

import json
import logging
import os
import sys

sys.dont_write_bytecode = True
HOME, NODES = sys.argv[1], sys.argv[2].split()
sys.path[:0] = [HOME + "/opensvc"]


class Options:
    """What was asked for on the command line."""

    force = False


class Svc:
    """A service as a driver sees it."""

    name = "registry"

    def __init__(self, sections, orchestrate, namespace):
        self.path = "%s/svc/%s" % (namespace, self.name) if namespace else self.name
        self.paths = Options()
        folder = "/namespaces/%s/svc" % namespace if namespace else ""
        self.paths.cf = os.environ["HOST_ETC"] + "%s/%s.conf" % (folder, self.name)
        self.cd = sections
        self.nodes = set(NODES)
        self.orchestrate = orchestrate
        self.options = Options()
        self.resources = []
        self.stopped = False
        self.started = False
        self.log = logging.getLogger("svc")

    def get_resources(self, group):
        """By the group of the type."""
        return [each for each in self.resources if each.type.split(".")[0] == group]

    def start(self):
        """The agent starts it."""
        self.started = True

    def stop(self):
        """The agent stops the groups it knows, and errors of optional resources end nothing."""
        import core.exceptions as ex

        for resource in self.get_resources("app"):
            try:
                resource.stop()
            except ex.Error:
                if not resource.optional:
                    raise
        self.stopped = True


class Lines(logging.Handler):
    """Keeps what was logged."""

    def emit(self, record):
        """One line more."""
        LOG.append(record.getMessage())


LOG = []
logging.getLogger().addHandler(Lines())
for text in iter(sys.stdin.readline, ""):
    request = json.loads(text)
    import core.exceptions as ex
    import core.objects.builder as builder

    del LOG[:]
    service = Svc(request["sections"], request.get("orchestrate", "no"), request.get("namespace"))
    service.options.force = request.get("force", False)
    os.environ["OPENHA_ACTION"] = request.get("by_cluster", "")
    errors = builder.add_resources(service)
    answer = {"rids": [each.rid for each in service.resources], "types": [each.type for each in service.resources]}
    answer["errors"] = errors
    if request["do"] == "status":
        answer["statuses"] = [each.status() for each in service.resources]
        answer["lines"] = [line for each in service.resources for line in each.status_logs]
    elif request["do"] == "do_start":
        try:
            service.start()
        except ex.Error as error:
            answer["error"] = str(error)
        answer["started"] = service.started
    elif request["do"] == "start":
        answer["vetoed"] = any(each.abort_start() for each in service.resources)
    else:
        try:
            service.stop()
        except ex.Error as error:
            answer["error"] = str(error)
        answer["stopped"] = service.stopped
    answer["log"] = list(LOG)
    print(json.dumps(answer), flush=True)
