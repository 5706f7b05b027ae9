"""Service files: their lines, references, keywords and schedules, and the scripts that stand beside
them.
"""
