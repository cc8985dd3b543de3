"""The frozen rows that a run trains on: assembled from their sources, within their shares."""
