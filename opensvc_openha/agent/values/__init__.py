"""Values shared by the agent's rooms: statuses, the cluster's view of a service, the action log."""
