"""From judgements to the frozen pairs and held-out questions of a run."""
