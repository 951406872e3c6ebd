"""qcnode: the safety net between segmentation software and the PACS.

The road of one case, each stage a package:

    ingest -> store.inbox -> matching -> store.jobs -> imaging -> assess -> report -> store.outbox -> deliver
                                                                     \\-> store.worklist -> a radiologist

`pipeline.assess_case` walks it for one case, `workers` keep it going, `node` builds and starts everything.
"""

__version__ = "0.1.0"
