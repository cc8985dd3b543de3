"""Synthetic questions: variations of real ones, answered by the live version and judged."""
