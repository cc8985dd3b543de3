"""Labels from what users do without a button: asking again, and what they write next."""
