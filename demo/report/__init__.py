"""The demo's report page and its figures."""
