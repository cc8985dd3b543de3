"""The dataset of a run: pairs built from judgements, and the questions of held-out users."""
