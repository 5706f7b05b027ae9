"""Service files: lines, references, keywords and schedules, and the scripts beside them."""
