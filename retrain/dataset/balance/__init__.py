"""Which rows of a week are alike: near-duplicates, topics, languages and lengths."""
