"""Record what a real OpenSVC agent shows and does with this cluster: the pages in docs/agents.

    python -m tests.plugin.record DIR [fencing | docker] > docs/agents/1.8.txt

DIR is a source tree of an agent; root. Two nodes in namespaces play the steps, and every command is
printed with its output, as on a screen. What the steps wait for is not printed. With `fencing` or
`docker` it is the agent 1.8 with ip, fs and a fencing command, or with containers.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.story import monitor_file
from opensvc_openha.system.clock import monotonic, pause
from tests.plugin.real_agents import EZ, HB, SVC, AgentNodes
from tests.waiting import until

PID = f"$(cat {EZ}/services/.proc/nmond.lock)"
LINK_TIMEOUT_S = 10
"""Longer than a daemon is stopped by the steps."""
COMMAND_LIMIT_S = 600.0
AWAIT_LIMIT_S = 90.0
LOOK_EVERY_S = 0.5

FENCING = """[DEFAULT]
app = OSVCLAB
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com

[ip#1]
ipname = 10.50.0.71
ipdev = eth0
netmask = 255.255.255.0

[fs#1]
type = ext4
dev = /shared/reg.img
mnt = /opt/reg
mnt_opt = rw,loop

[app#1]
script = /opt/app.sh
start = 10
stop = 10
check = 10
monitor = true

[stonith#1]
type = callout
cmd = /bin/false
"""

CONTAINER = """
[container#{number}]
type = docker
run_image = bb:date
run_args = --net=none
subset = {subset}
"""
DOCKER = (
    f"""[DEFAULT]
app = OSVCLAB
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
docker_data_dir = /opt/{SVC}/appdata
docker_daemon_args = --exec-root /run/{SVC} --iptables=false --bridge=none

[fs#1]
type = ext4
dev = /shared/bb.img
mnt = /opt/{SVC}
mnt_opt = rw,loop
"""
    + CONTAINER.format(number=1, subset="00database")
    + CONTAINER.format(number=2, subset="01appservers")
    + CONTAINER.format(number=3, subset="01appservers")
    + "\n[subset#container:01appservers]\nparallel = true\n"
)
SOCKET = f"unix:///var/lib/opensvc/{SVC}/docker.sock"
SHOWS_THE_TIME = (
    'CMD ["/bin/sh","-c","trap exit TERM; while true; do date; sleep 1 & wait $!; done"]'
)


class Recorder:
    """Prints the commands and their output."""

    def __init__(self, made: AgentNodes) -> None:
        self.made = made
        self.first, self.second = made.nodes
        self.agent = f"om {SVC}" if made.line == "2.1" else SVC

    def show(self, node: Node, command: str) -> None:
        """Run a command as an operator would, and print what the screen shows."""
        print(f"[root@{node.name.partition('.')[0]}]# {command}")
        done = node.run(f"{command} 2>&1", COMMAND_LIMIT_S)
        shown = re.sub(r"\x1b\[[0-9;]*m|\r", "", done.stdout).rstrip("\n")
        for line in shown.splitlines():
            print(line.rstrip())
        if done.returncode:
            print(f"   -> exit code {done.returncode}")
        print(flush=True)

    def states(self, node: Node) -> tuple[str, ...]:
        """Return the states of primary and secondary, as an operator may look at them."""
        pause(LOOK_EVERY_S)
        words = node.run("service -s -c").stdout.split()
        return (words[-3], words[-1]) if len(words) > 3 else ()

    def await_states(self, node: Node, *wanted: str) -> None:
        """Wait until the service is in these states."""
        until(
            lambda: self.states(node),
            lambda seen: seen == wanted,
            " and ".join(wanted),
            lambda: "".join(
                each.run(f"service -s -v; tail -20 {EZ}/log/registry.log").stdout
                for each in self.made.nodes
            ),
            AWAIT_LIMIT_S,
        )

    def lose_power(self, node: Node, other: Node, *wanted: str) -> None:
        """End a node, and report how long the other one needed to take the service over."""
        began = monotonic()
        print(f"--- {node.name.partition('.')[0]} loses its power\n")
        node.kill()
        self.await_states(other, *wanted)
        print(f"--- {monotonic() - began:.1f} s later\n")

    def set_up(self, is_shown: bool) -> None:
        """Install the driver on both nodes, and start their daemons."""
        for node in self.made.nodes:
            node.write(f"{EZ}/conf/monitor", monitor_file(LINK_TIMEOUT_S))
            self.made.start_agent(node)
            if node is self.first and is_shown:
                self.show(node, "openha agent install")
                self.show(node, "openha agent status")
            else:
                self.made.ok(node, "openha agent install")
            self.made.ok(node, "ezha start")

    def unfreeze_both(self) -> None:
        """Let the cluster decide: the service runs on the first node."""
        self.show(self.first, "service -A registry unfreeze")
        self.await_states(self.first, "STARTED", "FROZEN_STOP")
        self.show(self.second, "service -A registry unfreeze")
        self.await_states(self.first, "STARTED", "STOPPED")


def tutorial(record: Recorder) -> None:
    """The tutorial's steps, then a daemon that is stopped and killed, and a lost node."""
    first, second, agent = record.first, record.second, record.agent
    is_2_1 = record.made.line == "2.1"
    status = f"{agent} print status{' --refresh' if is_2_1 else ''}"
    record.set_up(is_shown=True)
    record.show(first, status)
    record.unfreeze_both()
    record.show(first, "service -s -c")
    record.show(first, status)
    record.show(second, status)
    if is_2_1:
        record.show(first, "om mon --color no")
        record.show(first, f"{agent} stop --local")
        record.show(first, f"{agent} start --local")
        record.show(second, f"{agent} start --local")
        record.show(first, "service -A registry stop")
    else:
        for node in record.made.nodes:
            record.show(node, f"svcmon{' -v' if record.made.line == '1.8' else ''}")
        record.show(first, f"{agent} restart")
        record.show(first, f"{agent} switch")
        if record.made.line == "1.5":
            record.show(first, "service -A registry stop")
    record.await_states(first, "STOPPED", "STARTED")
    record.show(first, "service -s -c")

    record.show(second, f"kill -STOP {PID}")
    record.show(second, status)
    record.show(second, f"kill -CONT {PID}; sleep 3")
    record.show(second, f"kill -KILL {PID}")
    record.show(second, status)
    record.show(second, "ezha start; sleep 4")
    record.await_states(second, "STOPPED", "STARTED")
    record.show(second, status)
    record.await_states(first, "STOPPED", "STARTED")

    if record.made.line in ("1.6", "1.7", "1.8"):
        for action in ("freeze", "thaw", "stop", "start", "switch"):
            record.show(first, f"{agent} {action}")
            record.show(first, "service -s -c")
    record.lose_power(second, first, "STARTED", "UNKNOWN")
    record.show(first, "service -s -c")
    record.show(first, status)
    record.show(first, "openha agent remove")
    record.show(first, f"{agent} print status")


def fencing(record: Recorder) -> None:
    """A takeover that waits for a fencing command that fails at first."""
    first, second = record.first, record.second
    make_image(record, "/shared/reg.img", 16)
    for node in record.made.nodes:
        node.write(f"{record.made.etc}/{SVC}.conf", FENCING + HB)
        # The agent checks its address with ping, which not every machine has.
        record.made.ok(
            node,
            "mkdir -p /opt/reg; command -v ping || ln -s $(command -v busybox) /usr/local/bin/ping",
        )
    record.set_up(is_shown=False)
    record.unfreeze_both()
    record.show(first, "service -s -c")
    record.show(first, f"svcmgr -s {SVC} print status")
    record.show(first, "svcmon -v | tail -1")
    record.show(first, f"/etc/opensvc/{SVC}.cluster status")
    record.show(first, f"tail -30 {EZ}/log/registry.log")
    record.lose_power(first, second, "UNKNOWN", "START_FAILED")
    record.show(second, f"service -s -c; tail -3 {EZ}/log/registry.log")
    record.show(second, f"svcmgr -s {SVC} print status")
    record.show(
        second,
        f"sed -i s:/bin/false:/bin/true: /etc/opensvc/{SVC}.conf; service -A registry freeze-stop;"
        " service -A registry unfreeze",
    )
    record.await_states(second, "UNKNOWN", "STARTED")
    record.show(second, f"service -s -c; tail -8 {EZ}/log/registry.log")
    record.show(second, f"svcmgr -s {SVC} print status")


def docker(record: Recorder) -> None:
    """Containers with a docker daemon of their own, on a file system that moves."""
    first, second = record.first, record.second
    make_image(record, "/shared/bb.img", 300)
    for node in record.made.nodes:
        node.write(f"{record.made.etc}/{SVC}.conf", DOCKER + HB)
        record.made.ok(node, f"mkdir -p /opt/{SVC}")
        record.made.ok(
            node,
            "mkdir -p /root/bb/bin /root/bb/tmp; cp /bin/busybox /root/bb/bin/; cd /root/bb;"
            " for name in sh date sleep; do ln -sf busybox bin/$name; done; tar cf /root/bb.tar .",
        )
    record.set_up(is_shown=False)
    daemons = "ps -eo args | grep [d]ockerd | cut -c1-300"
    record.show(first, f"cat /etc/opensvc/{SVC}.conf")
    record.show(first, f"{SVC} print status")
    record.show(first, f"{SVC} start --cluster --rid fs#1")
    record.show(first, f"{SVC} docker images")
    record.show(first, daemons)
    record.show(first, f"docker -H {SOCKET} import -c '{SHOWS_THE_TIME}' /root/bb.tar bb:date")
    record.show(first, f"{SVC} stop --cluster")
    record.unfreeze_both()
    record.show(first, "service -s -c")
    record.show(first, f"{SVC} print status")
    record.show(first, f"{SVC} docker ps")
    record.show(first, "svcmon -v")
    record.show(second, f"{SVC} print status")
    record.show(first, f"{SVC} switch")
    record.await_states(first, "STOPPED", "STARTED")
    record.show(first, "service -s -c")
    record.show(second, f"{SVC} docker ps")
    record.show(second, f"{SVC} print status")
    record.show(first, daemons)
    record.show(second, f"kill -STOP {PID}")
    record.show(second, f"{SVC} print status")
    record.show(second, f"kill -CONT {PID}; sleep 1")
    record.show(first, "service -s -c")
    record.lose_power(second, first, "STARTED", "UNKNOWN")
    record.show(first, "service -s -c")
    record.show(first, f"{SVC} print status")
    record.show(first, f"{SVC} docker ps")
    record.show(first, f"{SVC} stop")
    record.show(first, "service -s -c")
    record.show(first, f"tail -5 {EZ}/log/registry.log")


def make_image(record: Recorder, path: str, megabytes: int) -> None:
    """Make a file system on the shared disk."""
    record.made.ok(
        record.first, f"truncate -s {megabytes}M {path}; mkfs.ext4 -q -F {path}", COMMAND_LIMIT_S
    )


STORIES = {
    "": (tutorial, ""),
    "fencing": (fencing, ", with ip, fs and fencing"),
    "docker": (docker, ", with containers"),
}


def main() -> None:
    """Record one page on stdout."""
    story, title = STORIES["".join(sys.argv[2:])]
    with TwoNodes() as nodes:
        made = AgentNodes(nodes, sys.argv[1])
        made.add_service()
        python = subprocess.run([str(made.python), "-V"], capture_output=True, text=True)
        version = (python.stdout + python.stderr).strip()
        today = datetime.date.today()
        print(
            f"OpenSVC agent {made.line} (branch b{made.line}), {version}{title},"
            f" two nodes in namespaces, {today}\n"
        )
        story(Recorder(made))


if __name__ == "__main__":
    main()
