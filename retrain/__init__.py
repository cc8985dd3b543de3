"""The weekly run: pairs, training, evaluation, gate, rolling out."""
