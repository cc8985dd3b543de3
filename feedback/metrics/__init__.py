"""What the values of metrics mean: a good or bad verdict, or an order of answers."""
