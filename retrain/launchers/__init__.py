"""How the trainer process is started."""
