"""Workloads of benchmarks: conversations, logs, trainers and judges."""
