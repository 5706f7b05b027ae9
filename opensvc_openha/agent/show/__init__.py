"""What status commands print of services."""
