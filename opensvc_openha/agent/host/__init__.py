"""This machine, as the agent uses it: commands, signals, child processes, mounts, volume groups,
ssh.
"""
