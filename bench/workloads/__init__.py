"""What benchmarks ask, train and judge."""
