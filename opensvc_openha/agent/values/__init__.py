"""Values that the rooms of the agent exchange: statuses, the cluster's view of a service, the
action log.
"""
