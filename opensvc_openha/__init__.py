"""High availability for two nodes: heartbeats, takeover, and the OpenHA resource of the OpenSVC
agent.
"""

__version__ = "0.2.0"
