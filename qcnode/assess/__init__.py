"""Judge a query segmentation: networks, model cards, inference, metrics, verdicts."""
