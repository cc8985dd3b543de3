"""What one TCP connection may cost: sizes, times, and how many there may be."""
