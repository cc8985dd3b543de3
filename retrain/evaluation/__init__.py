"""Candidate against live on held-out questions: judges, assertion suites, harm metrics."""
