"""Pure rules: which version answers whom, and which changes of state are allowed."""
