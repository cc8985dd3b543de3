"""Shadow, canary, promotion and watch of a version on real traffic."""
