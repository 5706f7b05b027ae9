"""One service: its resources, their order, what is wrong with its file, and how it is started and
stopped.
"""
