"""Interpret metric values: as a good or bad verdict, or as an order of answers."""
