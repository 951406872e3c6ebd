"""The answer to one case: report, error map, summary page and preview, out of nothing but `inputs.ReportInputs`."""
