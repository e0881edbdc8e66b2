"""Reports: a run in, a document out."""
