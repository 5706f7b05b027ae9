"""Numbers of the 1.x statuses."""

UP = 0
DOWN = 1
WARN = 2
NA = 3
UNDEF = 5
