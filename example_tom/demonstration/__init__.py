"""What ``demo.py`` consists of: child processes, the TOM's database, and the table at the end."""
