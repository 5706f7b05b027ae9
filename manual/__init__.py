"""Manual pages, completion and the reference of commands, generated from parsers and schemas.

Used when a package or the documentation is built, never at run time; needs the extra ``docs``.
"""
