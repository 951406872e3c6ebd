"""The worklist that a radiologist opens in the browser, and its API. Both speak to `qcnode.review` only."""
