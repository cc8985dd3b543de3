"""Conversion of records to rows, the plan of a batch's writes, and classes of database errors."""
