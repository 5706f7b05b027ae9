"""The two service files of the tutorial, as it prints them."""

from __future__ import annotations

REGISTRY_ENV = """\
[DEFAULT]
autostart_node = deb1.opensvc.com
app = OSVCLAB
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
docker_data_dir = /opt/registry.opensvc.com/dockerdata
docker_daemon_args = --ip 37.59.71.25

[container#1]
type = docker
run_image = de9a91835513
run_args = -v /opt/registry.opensvc.com/registrydata:/registrydata \
-e STORAGE_PATH=/registrydata -p 5000:5000

[ip#1]
ipdev = eth0
ipname = registry.opensvc.com

[vg#1]
vgname = vgregistry

[fs#1]
mnt_opt = rw
mnt = /opt/registry.opensvc.com
dev = /dev/mapper/vgregistry-lvregistryroot
type = ext4

[fs#2]
mnt_opts = rw
mnt = /opt/registry.opensvc.com/dockerdata
dev = /dev/mapper/vgregistry-lvdockerdata
type = ext4

[fs#3]
mnt_opts = rw
mnt = /opt/registry.opensvc.com/registrydata
dev = /dev/mapper/vgregistry-lvregistrydata
type = ext4
"""

BUSYBOX_ENV = (
    """\
[DEFAULT]
autostart_node = deb1.opensvc.com
app = OSVCLAB
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
docker_data_dir = /opt/busybox.opensvc.com/appdata
docker_daemon_args = --ip 37.59.71.24
"""
    + "".join(
        f"\n[container#{number}]\ntype = docker\nrun_image = b073e328878e\nsubset = {subset}\n"
        for number, subset in enumerate(
            ["00database"] + ["01appservers"] * 4 + ["02webservers"] * 2, 1
        )
    )
    + """
[subset#container.docker:01appservers]
parallel = true

[subset#container.docker:02webservers]
parallel = false

[ip#1]
ipdev = eth0
ipname = busybox.opensvc.com

[vg#1]
vgname = vgbusybox
scsireserv = false

[fs#1]
mnt_opt = rw
mnt = /opt/busybox.opensvc.com
dev = /dev/mapper/vgbusybox-lvbusyboxroot
type = ext4

[fs#2]
mnt_opts = rw
mnt = /opt/busybox.opensvc.com/appdata
dev = /dev/mapper/vgbusybox-lvbusyboxdata
type = ext4
"""
)
