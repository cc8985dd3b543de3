"""Where the files of versions lie: a local folder, a shared folder, or object storage."""
