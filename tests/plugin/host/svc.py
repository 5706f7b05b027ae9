"""A service of the 1.x agents: its safety net, and the calls it makes on the peer."""

import os
import sys

import rcExceptions as ex

NET = ("this service is managed by a clusterware, thus direct service manipulation is disabled. "
       "the --cluster option circumvent this safety net.")


class Options(object):
    """What was asked for on the command line, in 1.8."""

    cluster = False
    remote = False
    dry_run = False
    destination_node = None


class Queue(object):
    """Takes commands that run after the action."""

    def __init__(self):
        self.commands = []

    def enqueue(self, command):
        """One command."""
        self.commands.append(command)


class Node(object):
    """The node."""

    def __init__(self):
        self.cmdworker = Queue()


class Svc(object):
    """A service with an hb resource and stonith resources."""

    def __init__(self, line, name, nodes, var):
        self.line = line
        self.svcname = name
        self.nodes = set(nodes)
        self.var = var
        self.options = Options()
        self.cluster = False
        self.remote = False
        self.destination_node = None
        self.scoped = False
        self.node = Node()
        self.resources = []
        self.peer_calls = []
        self.peer_command = None
        self.done = []
        self.unlocked = 0
        self.status_data_dump = os.path.join(var, "status.json")

    def command_is_scoped(self):
        """Called with --rid."""
        return self.scoped

    def add(self, resource):
        """Takes a resource in."""
        self.resources.append(resource)
        resource.svc = self
        if self.line != "1.5" and hasattr(resource, "on_add"):
            resource.on_add()

    def get_resources(self, kind):
        """Resources by the beginning of their type."""
        return [each for each in self.resources if each.type.startswith(kind)]

    def svcunlock(self):
        """Gives the action lock back."""
        self.unlocked += 1

    def remote_action(self, node, action, waitlock=60, sync=False, verbose=True):
        """Runs an action on the peer: here, a command that stands for its agent."""
        import subprocess

        process = subprocess.Popen([self.peer_command, node] + action.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        if str is bytes:
            return out, err, process.returncode  # Bytes under Python 2, as in the agents.
        return out.decode("utf-8"), err.decode("utf-8"), process.returncode

    def hb_handled_action(self, action):
        """In 1.6 such an action is the resource's own."""
        return any(hasattr(each, action) for each in self.get_resources("hb"))

    def action(self, action):
        """What svcmgr does with an action word: exit code and message."""
        try:
            if action == "action_main":
                for resource in self.get_resources("hb"):
                    resource.action_main(self.what)
            elif action in ("freeze", "thaw", "stonith", "freezestop"):
                self._own(action)
            elif not (self.options.cluster or self.cluster or self.scoped):
                if self.line != "1.5":
                    for resource in self.get_resources("hb"):
                        if hasattr(resource, action):
                            getattr(resource, action)()
                raise ex.excError(NET)
            else:
                self._own(action)
        except Exception as error:
            kind = type(error).__name__
            if kind not in ("excError", "excEndAction", "excAbortAction"):
                import traceback

                traceback.print_exc(file=sys.stderr)
            return (1 if kind != "excEndAction" else 0), str(error), kind
        return 0, "", ""

    def _own(self, action):
        if action == "stonith":
            if any(each.need_stonith() for each in self.get_resources("hb")):
                for resource in self.get_resources("stonith"):
                    resource.vcall(resource.cmd)
            return
        for resource in self.get_resources("hb"):
            getattr(resource, action, lambda: None)()
        self.done.append(action)
