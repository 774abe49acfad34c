"""Many runs by one command (`-m`): which jobs there are, what is left to do of each, and how far they have come."""
