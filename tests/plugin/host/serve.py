"""Serves one service of the minimal host: requests on stdin, answers on stdout, one JSON object a line each."""

from __future__ import print_function

import json
import logging
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True


class Lines(logging.Handler):
    """Keeps what was logged."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.lines = []

    def emit(self, record):
        """One line more."""
        text = record.getMessage()
        assert isinstance(text, str), repr(text)  # The agents write bytes under Python 2.
        self.lines.append(text)


def build(line, name, nodes, var):
    """The service with its resources, as the builder of the agent makes it."""
    import resources
    import svc as svc_module

    service = svc_module.Svc(line, name, nodes, var)
    module = __import__("resHbOpenHA")
    kwargs = {} if line == "1.5" else {"subset": None}
    service.add(module.Hb(rid="hb#0", name="registry", tags=set(), always_on=set(), disabled=False, optional=False, **kwargs))
    return service, resources


def main():
    """Until stdin ends."""
    line, name, nodes, var = sys.argv[1], sys.argv[2], sys.argv[3].split(), sys.argv[4]
    lines = Lines()
    logging.getLogger().addHandler(lines)
    logging.getLogger().setLevel(logging.INFO)
    for text in iter(sys.stdin.readline, ""):
        request = json.loads(text)
        service, resources = build(line, name, nodes, var)
        holder = service.options if line == "1.8" else service
        holder.cluster = request.get("cluster", False)
        holder.remote = request.get("remote", False)
        holder.destination_node = request.get("to")
        service.options.dry_run = request.get("dry_run", False)
        service.scoped = request.get("scoped", False)
        service.peer_command = request.get("peer_command")
        if request.get("fence"):
            stonith = resources.Resource(rid="stonith#1", type="stonith.callout")
            stonith.cmd = request["fence"]
            service.add(stonith)
        lines.lines = []
        hb = service.get_resources("hb")[0]
        if request["do"] == "status":
            answer = {"status": hb.status(), "lines": hb.lines, "type": hb.type, "label": getattr(hb, "label", hb.type)}
        elif request["do"] == "build":
            answer = {}
        else:
            service.what = str(request.get("word"))
            code, message, kind = service.action(request["do"])
            answer = {"code": code, "message": message, "kind": kind, "queue": service.node.cmdworker.commands,
                      "unlocked": service.unlocked, "done": service.done, "summary": os.path.exists(service.status_data_dump)}
        answer["log"] = lines.lines
        print(json.dumps(answer))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
