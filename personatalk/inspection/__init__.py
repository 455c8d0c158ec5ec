"""What a researcher looks at: a run recorded on disk, and pictures, tables and files made from it."""
