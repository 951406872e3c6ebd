"""Judging a case in a process of its own: a crash, a hang or a lack of memory there never takes the node down.

`process` is the node's side, `child` the other one; `here` judges in the process that calls it, as the child and `qcnode assess` do.
Only `here` imports what judges: the node's own process does without the networks and their libraries.
"""
