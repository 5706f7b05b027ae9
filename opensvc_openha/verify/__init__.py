"""Check the decisions: invariants, random histories, and every state of a bounded model."""
