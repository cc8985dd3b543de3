"""From rows of the snapshot to the token ids that a learning method is trained on."""
