"""Convert the rows of a snapshot into the token ids that a learning method is trained on."""
