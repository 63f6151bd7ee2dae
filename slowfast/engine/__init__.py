"""The stories of a run, ``slowfast.engine.train.train`` and ``slowfast.engine.test.test``, and what they are told with.

Nothing is exported here: a function ``train`` would hide the module of that name.
"""
