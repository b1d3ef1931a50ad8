"""From a table to a trained network: data, the loop, and what it shows while it runs."""
