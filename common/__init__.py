"""Ground floor: clocks, files, retries, processes. Imports nothing of the other packages."""
