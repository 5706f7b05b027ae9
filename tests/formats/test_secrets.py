"""Passwords never reach a log: command lines of fences and mounts, and what commands print."""

from __future__ import annotations

import shlex

import pytest

from opensvc_openha.formats.secrets import mask_command, mask_script, mask_text

SECRET = "s3cr3t-Pa55"


@pytest.mark.parametrize(
    "line",
    [
        "ipmitool -I lanplus -H bmc2 -U admin -P {} chassis power off",
        "/usr/bin/ipmitool -H bmc2 -P{} power off",
        "fence_ipmilan -a bmc2 -l admin -p {} -o off",
        "fence_ipmilan --ip=bmc2 --username=admin --password={} --action=off",
        "fence_ipmilan --password {} -o off",
        "mount -t cifs -o username=svc,password={},vers=3.0 //nas/share /mnt",
        "mount -t cifs -o rw,pass={} //nas/share /mnt",
        "sshpass -p {} ssh root@deb2 reboot -f",
        "sshpass -p{} ssh root@deb2 reboot -f",
        "curl -s -u admin:{} https://pdu/outlet/2/off",
        "curl --user admin:{} https://pdu/outlet/2/off",
        "curl https://admin:{}@pdu/outlet/2/off",
        "curl -H 'Authorization: Basic {}' https://pdu/",
        'curl -d \'{{"password": "{}"}}\' https://pdu/',
        "curl 'https://pdu/off?user=admin&token={}'",
        "sh -c 'ipmitool -U admin --password {} power off'",
        "/bin/sh -c 'ipmitool -H bmc2 -U admin -P {} chassis power off && sleep 1'",
        "/bin/sh -c 'fence_pdu -l apc -p \"{}\" -n 7'",
        "/bin/sh -c 'sshpass -p{} ssh deb2 poweroff -f || exit 1'",
        "/bin/sh -c 'curl -u admin:{} https://pdu/off'",
        "/bin/sh -c 'it is no shell -U a -P {} \"'",
        "mysqladmin -u root -p{} ping",
        "snmpset -v2c -c {} pdu 1.3.6.1 i 2",
        "smbclient -U svc%{} //nas/share",
        "env IPMI_PASSWORD={} fence.sh",
        "openssl enc -passphrase {} -in x",
    ],
)
def test_password_in_a_command_line_is_masked(line: str) -> None:
    """The usual fences, mounts and requests: what is secret is gone, the rest of the line is
    there.
    """
    argv = shlex.split(line.format(SECRET))
    masked = mask_command(argv)
    assert SECRET not in masked and "***" in masked
    assert masked.split()[0] == argv[0].split()[0]


@pytest.mark.parametrize(
    "line",
    [
        "mount -t ext4 -o rw,noatime /dev/mapper/vg-lv /opt/registry.opensvc.com",
        "mkdir -p /opt/registry",
        "ssh -p 22 root@deb2 true",
        "ssh -l root -p 22 deb2 true",
        "ip addr add 10.50.0.71/24 dev eth0",
        "e2fsck -p /dev/mapper/vg-lv",
        "'/opt/my app/run' start",
        "/opt/bypass/start.sh --compass north",
    ],
)
def test_command_line_without_a_password_stays(line: str) -> None:
    """Nothing else is touched: an operator copies the line from the log and runs it."""
    assert mask_command(shlex.split(line)) == line


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("login failed: user=admin password=s3cr3t", "login failed: user=admin password=***"),
        ("DB_PASSWORD: 's3 cr3t', host: db", "DB_PASSWORD: ***, host: db"),
        (
            "cannot connect to postgres://app:s3cr3t@db/app",
            "cannot connect to postgres://app:***@db/app",
        ),
        ("mount error(13): Permission denied", "mount error(13): Permission denied"),
        ("wrong password", "wrong password"),
        (
            "stonith#1: fencing failed: ipmitool -U admin -P s3cr3t off exited with 1",
            "stonith#1: fencing failed: ipmitool -U admin -P *** off exited with 1",
        ),
        ("it's ipmitool -U admin -P s3cr3t", "it's ipmitool -U admin -P ***"),
        (
            "cannot make directory with mkdir -p /x: File exists",
            "cannot make directory with mkdir -p /x: File exists",
        ),
        (
            "+ ipmitool -U admin --password s3cr3t power off",
            "+ ipmitool -U admin --password *** power off",
        ),
    ],
)
def test_password_in_what_a_command_prints_is_masked(text: str, masked: str) -> None:
    """What a failed command reports of itself."""
    assert mask_script(text) == masked


@pytest.mark.parametrize(
    "piece", ["password", "a.", "-", "http://a:", "pass=", "'", "token token "]
)
def test_long_text_takes_no_long_time(piece: str) -> None:
    """A megabyte of pieces that begin like a password: read in one pass (a pattern that goes back
    and forth never ends).
    """
    text = piece * (1_000_000 // len(piece))
    assert len(mask_text(text)) <= len(text) * 2
