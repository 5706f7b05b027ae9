"""Files that outlive a process: configuration, states, keys, history, and what fencing has to
remember.
"""
