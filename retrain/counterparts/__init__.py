"""New answers of the live version that complete pairs: counterparts of rated answers, self-play."""
