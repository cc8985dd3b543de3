"""One weekly run, step by step, and how an interrupted one resumes."""
