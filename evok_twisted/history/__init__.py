"""What circuits have shown: kept in a file, by the change, the minute and the hour."""
