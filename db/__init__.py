"""What happened: rows in one database, arrays beside it."""
