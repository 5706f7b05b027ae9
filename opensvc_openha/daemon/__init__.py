"""The node daemon: one process that runs the engine, carries out its actions and keeps watch over
its surroundings.
"""
