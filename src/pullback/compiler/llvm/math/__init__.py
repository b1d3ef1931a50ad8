"""Elementary functions as instructions without calls and branches."""
