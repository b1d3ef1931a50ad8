"""Schedule to loops: the body of each kernel."""
