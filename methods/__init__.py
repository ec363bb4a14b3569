"""Distillation methods, one file each, installed as `condense.methods` and found by their registered names.

Every module here is imported by `condense.distillation.registry`; nothing is to be listed anywhere else.
"""

if __name__ != "condense.methods":
    raise ImportError("import condense.methods, not methods: the folder is a part of the condense package")
