"""Pure statistics: whether a version is shown to be better, offline and on traffic."""
