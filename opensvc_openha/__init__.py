"""High availability for two nodes: heartbeats, takeover, OpenSVC agents' OpenHA resource."""

__version__ = "0.2.0"
