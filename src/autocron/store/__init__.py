"""The store: one class, a driver per database, the SQL in files of its own."""
