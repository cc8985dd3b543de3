"""Storage of the files of versions: a local folder, a shared folder, or object storage."""
